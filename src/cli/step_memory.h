// The device memory in use at the ends of steps, the paper's meter: nvml_step_peak_bytes.
#pragma once

#include <algorithm>
#include <optional>

#include "base/json.h"
#include "base/nvml.h"

namespace zo2 {

class StepMemory {
 public:
  // Reads nothing unless `on_gpu`.
  explicit StepMemory(bool on_gpu) {
    if (on_gpu) device_ = Nvml::open().visible_device();
  }

  void read() {
    const auto bytes = device_ ? device_->used_bytes() : std::nullopt;
    if (bytes) peak_bytes_ = std::max(peak_bytes_.value_or(0), *bytes);
    last_bytes_ = bytes;
  }

  // Of the last reading; absent on the CPU.
  std::optional<int64_t> last_bytes() const { return last_bytes_; }

  void add_to(Json& metrics) const {
    if (peak_bytes_) metrics["nvml_step_peak_bytes"] = *peak_bytes_;
  }

 private:
  std::optional<NvmlDevice> device_;
  std::optional<int64_t> peak_bytes_;
  std::optional<int64_t> last_bytes_;
};

}  // namespace zo2

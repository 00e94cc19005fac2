// The state that a repeat should find its GPU in: free of other processes, and no hotter than the first one found it,
// so that no repeat is measured on a GPU that its predecessor has heated up.
#pragma once

#include <functional>
#include <optional>

#include "base/json.h"
#include "base/nvml.h"

namespace zo2 {

class GpuWait {
 public:
  // Waits at most `bound_s` seconds each time.
  GpuWait(NvmlDevice device, double bound_s) : device_(std::move(device)), bound_s_(bound_s) {}

  struct Outcome {
    double waited_s = 0;
    std::optional<int> temperature_c{};  // at the end
    std::optional<int> first_c{};        // what the first repeat found
    bool hot = false;                    // still hotter than that by more than kToleranceC
  };
  // Waits until no process has a context on the GPU and it is at most kToleranceC hotter than at the first call. A
  // process that has outlasted one whole wait is not waited for again. `waiting` is called about ten times a second;
  // when it returns false, the wait ends with nullopt.
  std::optional<Outcome> operator()(const std::function<bool()>& waiting);

  static constexpr int kToleranceC = 5;

 private:
  bool is_free() const;

  NvmlDevice device_;
  double bound_s_;
  std::optional<int> first_c_;
  bool patient_ = true;  // with other processes
};

// Adds gpu_wait_s, gpu_start_temperature_c and, when it was still hot, a warning.
void add_gpu_wait(const GpuWait::Outcome& wait, Json& result);

}  // namespace zo2

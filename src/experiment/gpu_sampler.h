// Watches a GPU while a child process runs on it: how much of its memory is used, how fast and how hot it is.
//
// It sits in the runner's process, which has no CUDA context, and so sees the same thing for every method and for every
// program: all that is taken on the device, contexts and libraries included.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <thread>
#include <vector>

#include "base/json.h"
#include "base/nvml.h"

namespace zo2 {

// The state of a GPU at one time; what it does not tell is absent.
struct GpuPoll {
  std::optional<int> sm_clock_mhz{};
  std::optional<int> temperature_c{};
  std::optional<double> power_w{};
  std::optional<PcieLink> link{};
  uint64_t clock_event_reasons = 0;
};

struct GpuReadings {
  // Before the child started.
  std::optional<int64_t> idle_bytes{};
  std::optional<double> idle_power_w{};
  // Most processes with a CUDA context before the start or after the end, when none is the child's. (While it runs its
  // own cannot be told from others: in a container, pids are other ones than the driver's.)
  int foreign_processes = 0;
  // While it ran.
  std::optional<int64_t> run_peak_bytes{};
  std::vector<GpuPoll> polls{};  // equally spaced in time
};

class GpuSampler {
 public:
  // Reads the idle state, then starts to poll in a thread of its own: memory at every interval, for a peak is short;
  // clocks, temperature, power and link, which change slowly, at every tenth.
  explicit GpuSampler(const NvmlDevice& device, std::chrono::milliseconds interval = std::chrono::milliseconds(20));

  // Ends the polling. Call once, when the child has ended. Takes up to half a second when there are processes on the
  // GPU: the driver may need a moment to clear away the child's.
  GpuReadings stop();

 private:
  void poll(const std::stop_token& stop, std::chrono::milliseconds interval);

  NvmlDevice device_;
  GpuReadings readings_;
  std::jthread thread_;  // the last member: it uses the others
};

// Adds the metrics nvml_idle_bytes, nvml_run_peak_bytes, gpu_* and pcie_link_* (metrics.cpp defines them), the list
// "throttle_reasons", the number "foreign_gpu_processes", and warnings about both to a result. What was not told is
// left out.
//
// Clocks, power and throttling are those of the second half of the child's life, when weights are loaded and the GPU is
// warm. The clock counts only while the board draws more than it did before the start: an idle GPU lowers its clocks,
// which would say nothing about the speed of the work.
void add_gpu_readings(const GpuReadings& readings, Json& result);

// Whether the result's throttle_reasons mean that its speed is not the GPU's: slowed down for heat, or by the hardware.
// The power limit (sw_power_cap) is not among them: a GPU that computes flat out runs at it, and env.json says what
// it is.
bool was_throttled(const Json& result);

}  // namespace zo2

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
  int foreign_processes = 0;  // that had a CUDA context
  // While it ran.
  std::optional<int64_t> run_peak_bytes{};
  std::vector<GpuPoll> polls{};  // equally spaced in time
};

class GpuSampler {
 public:
  // Reads the idle state, then starts to poll in a thread of its own: memory at every interval, for a peak is short;
  // clocks, temperature, power and link, which change slowly, at every tenth.
  explicit GpuSampler(const NvmlDevice& device, std::chrono::milliseconds interval = std::chrono::milliseconds(20));

  // Ends the polling. Call once, when the child has ended.
  GpuReadings stop();

 private:
  void poll(const std::stop_token& stop, std::chrono::milliseconds interval);

  NvmlDevice device_;
  GpuReadings readings_;
  std::jthread thread_;  // the last member: it uses the others
};

// Adds the metrics nvml_idle_bytes, nvml_run_peak_bytes, gpu_* and pcie_link_* (metrics.cpp defines them), the list
// "throttle_reasons", and warnings about throttling and foreign processes to a result. What was not told is left out.
//
// Clocks, power and throttling are those of the second half of the child's life, when weights are loaded and the GPU is
// warm. The clock counts only while the board draws more than it did before the start: an idle GPU lowers its clocks,
// which would say nothing about the speed of the work.
void add_gpu_readings(const GpuReadings& readings, Json& result);

}  // namespace zo2

#include "experiment/gpu_sampler.h"

#include <pthread.h>

#include <algorithm>
#include <condition_variable>
#include <csignal>
#include <map>
#include <mutex>
#include <span>
#include <string>

#include "base/error.h"

namespace zo2 {
namespace {

constexpr int kMemoryPollsPerPoll = 10;

GpuPoll poll_of(const NvmlDevice& device) {
  return {.sm_clock_mhz = device.sm_clock_mhz(),
          .temperature_c = device.temperature_c(),
          .power_w = device.power_w(),
          .link = device.link(),
          .clock_event_reasons = device.clock_event_reasons().value_or(0)};
}

int count_processes(const NvmlDevice& device) {
  const auto processes = device.compute_processes();
  return processes ? static_cast<int>(processes->size()) : 0;
}

// Signals are for the thread that waits for the child: they end its wait at once.
void leave_signals_to_others() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

class Mean {
 public:
  void add(double value) {
    sum_ += value;
    ++count_;
  }
  bool empty() const { return count_ == 0; }
  double value() const { return sum_ / static_cast<double>(count_); }

 private:
  double sum_ = 0;
  int64_t count_ = 0;
};

void add_throttling(std::span<const GpuPoll> polls, Json& result) {
  std::map<std::string_view, int> seen;
  for (const GpuPoll& poll : polls) {
    for (const std::string_view reason : throttle_reasons(poll.clock_event_reasons)) ++seen[reason];
  }
  result["throttle_reasons"] = Json::array();
  std::vector<std::string> shares;
  for (const auto& [reason, count] : seen) {
    result["throttle_reasons"].push_back(reason);
    shares.push_back(fmt::format("{} in {} of {} polls", reason, count, polls.size()));
  }
  if (shares.empty()) return;
  result["warnings"].push_back(
      fmt::format("the GPU was throttled in the second half of the run: {}", fmt::join(shares, ", ")));
}

}  // namespace

GpuSampler::GpuSampler(const NvmlDevice& device, std::chrono::milliseconds interval) : device_(device) {
  readings_.idle_bytes = device_.used_bytes();
  readings_.idle_power_w = device_.power_w();
  readings_.foreign_processes = count_processes(device_);
  thread_ = std::jthread([this, interval](const std::stop_token& stop) { poll(stop, interval); });
}

void GpuSampler::poll(const std::stop_token& stop, std::chrono::milliseconds interval) {
  leave_signals_to_others();
  std::mutex mutex;
  std::unique_lock lock(mutex);
  std::condition_variable_any never;  // ends a wait when `stop` is requested
  auto next = std::chrono::steady_clock::now();
  int64_t polls = 0;
  do {  // once at least: a child can end before this thread begins
    if (const auto bytes = device_.used_bytes()) {
      readings_.run_peak_bytes = std::max(readings_.run_peak_bytes.value_or(0), *bytes);
    }
    if (polls++ % kMemoryPollsPerPoll == 0) readings_.polls.push_back(poll_of(device_));
    // After a late poll the next one is a whole interval away: no burst to catch up.
    next = std::max(next + interval, std::chrono::steady_clock::now());
    never.wait_until(lock, stop, next, [] { return false; });
  } while (!stop.stop_requested());
}

GpuReadings GpuSampler::stop() {
  thread_.request_stop();
  thread_.join();
  int after = count_processes(device_);
  for (int i = 0; i < 10 && after > readings_.foreign_processes; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    after = std::min(after, count_processes(device_));
  }
  readings_.foreign_processes = std::max(readings_.foreign_processes, after);
  return std::move(readings_);
}

void add_gpu_readings(const GpuReadings& readings, Json& result) {
  Json& metrics = result["metrics"];
  if (readings.idle_bytes) metrics["nvml_idle_bytes"] = *readings.idle_bytes;
  if (readings.run_peak_bytes) metrics["nvml_run_peak_bytes"] = *readings.run_peak_bytes;

  const auto raise = [&](const char* name, int value) {
    if (!metrics.contains(name) || metrics[name] < value) metrics[name] = value;
  };
  for (const GpuPoll& poll : readings.polls) {
    if (poll.temperature_c) raise("gpu_temperature_c", *poll.temperature_c);
    if (!poll.link) continue;
    raise("pcie_link_generation", poll.link->generation);
    raise("pcie_link_width", poll.link->width);
  }

  const auto second_half = std::span(readings.polls).subspan(readings.polls.size() / 2);
  Mean clock_mhz;
  Mean power_w;
  for (const GpuPoll& poll : second_half) {
    if (poll.power_w) power_w.add(*poll.power_w);
    const bool works = !poll.power_w || !readings.idle_power_w || *poll.power_w > *readings.idle_power_w;
    if (poll.sm_clock_mhz && works) clock_mhz.add(*poll.sm_clock_mhz);
  }
  if (!clock_mhz.empty()) metrics["gpu_sm_clock_mhz"] = clock_mhz.value();
  if (!power_w.empty()) metrics["gpu_power_w"] = power_w.value();

  add_throttling(second_half, result);
  result["foreign_gpu_processes"] = readings.foreign_processes;
  if (readings.foreign_processes > 0) {
    result["warnings"].push_back(fmt::format(
        "the GPU was not free: {} other process{} had a context on it before the start or after the end, so "
        "device memory is not comparable; end {} and use --rerun",
        readings.foreign_processes, readings.foreign_processes == 1 ? "" : "es",
        readings.foreign_processes == 1 ? "it" : "them"));
  }
}

bool was_throttled(const Json& result) {
  const Json reasons = result.value("throttle_reasons", Json::array());
  return std::ranges::any_of(reasons, [](const Json& reason) { return reason != "sw_power_cap"; });
}

}  // namespace zo2

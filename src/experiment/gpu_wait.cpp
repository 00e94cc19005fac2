#include "experiment/gpu_wait.h"

#include <fmt/format.h>

#include <chrono>
#include <thread>

namespace zo2 {

bool GpuWait::is_free() const {
  const auto processes = device_.compute_processes();
  return !processes || processes->empty();
}

std::optional<GpuWait::Outcome> GpuWait::operator()(const std::function<bool()>& waiting) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  Outcome outcome;
  for (;;) {
    const bool free = is_free();
    outcome.waited_s = std::chrono::duration<double>(Clock::now() - start).count();
    outcome.temperature_c = device_.temperature_c();
    outcome.hot = first_c_ && outcome.temperature_c && *outcome.temperature_c > *first_c_ + kToleranceC;
    const bool expired = outcome.waited_s >= bound_s_;
    if (free) patient_ = true;
    if (!free && expired) patient_ = false;
    if (((free || !patient_) && !outcome.hot) || expired) break;
    if (!waiting()) return std::nullopt;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  if (!first_c_) first_c_ = outcome.temperature_c;
  outcome.first_c = first_c_;
  return outcome;
}

void add_gpu_wait(const GpuWait::Outcome& wait, Json& result) {
  result["metrics"]["gpu_wait_s"] = wait.waited_s;
  if (wait.temperature_c) result["metrics"]["gpu_start_temperature_c"] = *wait.temperature_c;
  if (!wait.hot) return;
  result["warnings"].push_back(fmt::format(
      "the GPU was still at {} C after {:.0f} s of waiting, and at {} C when the first repeat began: it may "
      "run slower; wait longer (--gpu-wait)",
      *wait.temperature_c, wait.waited_s, *wait.first_c));
}

}  // namespace zo2

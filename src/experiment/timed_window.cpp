#include "experiment/timed_window.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "experiment/config_schema.h"
#include "experiment/statistics.h"

namespace zo2 {
void MeanInterval::add(double value) {
  ++count_;
  const double deviation = value - mean_;
  mean_ += deviation / static_cast<double>(count_);
  squares_ += deviation * (value - mean_);
}

std::optional<double> MeanInterval::relative_half_width() const {
  if (count_ < kLeastValues) return std::nullopt;
  const auto count = static_cast<double>(count_);
  return student_quantile(count - 1) * std::sqrt(squares_ / (count - 1) / count) / mean_;
}

void StoppingRule::add(double step_ms) {
  ++steps_;
  if (steps_ <= warmup_) return;
  period_ms_ += step_ms;
  if ((steps_ - warmup_) % period_ != 0) return;
  means_.add(period_ms_ / static_cast<double>(period_));
  period_ms_ = 0;
}

bool StoppingRule::stop_before(int64_t step) const {
  if (within_ == 0 || step <= warmup_ || (step - warmup_) % period_ != 0) return false;
  const auto half_width = means_.relative_half_width();
  return half_width && *half_width <= within_;
}

int64_t least_steps_to_stop(int64_t warmup, int64_t period) {
  return warmup + (MeanInterval::kLeastValues + 1) * period;
}

void add_speed_metrics(const Json& config, const std::vector<StepSample>& samples, const std::vector<int64_t>& tokens,
                       Json& result) {
  Json& metrics = result["metrics"];
  const auto integer = [&](std::string_view key) { return config_at(config, key).get<int64_t>(); };
  const auto steps = static_cast<int64_t>(samples.size());
  const int64_t period = integer("method.writeback_every");
  const int64_t window = std::max<int64_t>(0, steps - integer("train.warmup")) / period * period;
  metrics["steps"] = steps;
  if (window == 0) return;
  std::vector<double> times;
  for (const StepSample& sample : samples) times.push_back(sample.step_ms);

  const size_t half = std::min((times.size() + 1) / 2, times.size() - 1);
  double last_half = 0;
  for (size_t step = half; step < times.size(); ++step) {
    last_half += static_cast<double>(tokens[step]) / times[step] * 1e3;
  }
  metrics["tokens_per_s_paper"] = last_half / static_cast<double>(times.size() - half);

  times.erase(times.begin(), times.end() - window);
  double window_ms = 0;
  double period_ms = 0;
  MeanInterval means;
  for (size_t i = 0; i < times.size(); ++i) {
    window_ms += times[i];
    period_ms += times[i];
    if ((static_cast<int64_t>(i) + 1) % period != 0) continue;
    means.add(period_ms / static_cast<double>(period));
    period_ms = 0;
  }
  const auto window_tokens = std::accumulate(tokens.end() - window, tokens.end(), int64_t{0});
  const double rate = static_cast<double>(window_tokens) / window_ms * 1e3;
  metrics["window_steps"] = window;
  metrics["tokens_per_s"] = rate;
  metrics["forward_tokens_per_s"] = rate * 2 * config_at(config, "method.perturbations").get<double>();
  metrics["step_ms_mean"] = window_ms / static_cast<double>(window);
  std::ranges::sort(times);
  metrics["step_ms_p50"] = sorted_quantile(times, 0.5);
  metrics["step_ms_p90"] = sorted_quantile(times, 0.9);
  const auto half_width = means.relative_half_width();
  if (half_width) metrics["step_ms_half_width"] = *half_width;
  const auto within = config_at(config, "train.stop_within").get<double>();
  if (within > 0 && half_width && *half_width > within && steps == integer("train.steps")) {
    result["warnings"].push_back(
        fmt::format("train.stop_within {} was not reached: after {} steps the mean step time is known within {:.2g}; "
                    "raise train.steps",
                    within, steps, *half_width));
  }
}

}  // namespace zo2

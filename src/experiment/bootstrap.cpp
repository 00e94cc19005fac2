#include "experiment/bootstrap.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "experiment/statistics.h"

namespace zo2 {
namespace {

double resampled_mean(std::span<const double> values, std::mt19937_64& random) {
  double sum = 0;
  // The remainder favours the first values by 2^-61: std::uniform_int_distribution differs between libraries.
  for (size_t i = 0; i < values.size(); ++i) sum += values[random() % values.size()];
  return sum / static_cast<double>(values.size());
}

bool usable(std::span<const double> values) {
  return values.size() >= kLeastForInterval &&
         std::ranges::all_of(values, [](double value) { return std::isfinite(value) && value > 0; });
}

}  // namespace

double expanded_tail(size_t count) {
  const auto n = static_cast<double>(count);
  return std::erfc(std::sqrt(n / (n - 1)) * student_quantile(n - 1) / std::sqrt(2.0)) / 2;
}

std::optional<Interval> ratio_interval(std::span<const double> above, std::span<const double> below) {
  if (!usable(above) || !usable(below)) return std::nullopt;
  std::mt19937_64 random(kBootstrapSeed);  // NOLINT(bugprone-random-generator-seed): to be repeatable
  std::vector<double> ratios(kResamples);
  for (double& ratio : ratios) ratio = resampled_mean(above, random) / resampled_mean(below, random);
  std::ranges::sort(ratios);
  const double tail = expanded_tail(std::min(above.size(), below.size()));
  return Interval{sorted_quantile(ratios, tail), sorted_quantile(ratios, 1 - tail)};
}

}  // namespace zo2

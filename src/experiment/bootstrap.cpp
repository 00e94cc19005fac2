#include "experiment/bootstrap.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "base/error.h"

namespace zo2 {
namespace {

// The 0.975 quantile of Student's t (Abramowitz and Stegun 26.7.5): within 0.3% from 4 degrees of freedom on.
double student_quantile(double degrees) {
  const double z = 1.959964;
  const double z2 = z * z;
  return z * (1 + (z2 + 1) / (4 * degrees) + ((5 * z2 + 16) * z2 + 3) / (96 * degrees * degrees) +
              (((3 * z2 + 19) * z2 + 17) * z2 - 15) / (384 * degrees * degrees * degrees));
}

double resampled_mean(std::span<const double> values, std::mt19937_64& random) {
  double sum = 0;
  // The remainder favours the first values by 2^-61: std::uniform_int_distribution differs between libraries.
  for (size_t i = 0; i < values.size(); ++i) sum += values[random() % values.size()];
  return sum / static_cast<double>(values.size());
}

double sorted_quantile(const std::vector<double>& sorted, double q) {
  const double position = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(position);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return std::lerp(sorted[below], sorted[above], position - static_cast<double>(below));
}

bool usable(std::span<const double> values) {
  return values.size() >= kLeastForInterval &&
         std::ranges::all_of(values, [](double value) { return std::isfinite(value) && value > 0; });
}

}  // namespace

double mean(std::span<const double> values) {
  ZO2_ASSERT(!values.empty());
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

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

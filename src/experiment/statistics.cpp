#include "experiment/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/error.h"

namespace zo2 {

double mean(std::span<const double> values) {
  ZO2_ASSERT(!values.empty());
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double sorted_quantile(std::span<const double> sorted, double q) {
  ZO2_ASSERT(!sorted.empty());
  const double position = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(position);
  const double fraction = position - static_cast<double>(below);
  // An infinite neighbour has no part in a value that is met exactly.
  return fraction == 0 ? sorted[below] : std::lerp(sorted[below], sorted[below + 1], fraction);
}

double median(std::vector<double> values) {
  if (std::ranges::any_of(values, [](double value) { return std::isnan(value); })) {
    return std::numeric_limits<double>::quiet_NaN();
  }
  std::ranges::sort(values);
  return sorted_quantile(values, 0.5);
}

double student_quantile(double degrees) {
  constexpr double kZ = 1.959963984540054;  // of the normal distribution
  constexpr double kZ2 = kZ * kZ;
  constexpr double kFirst = kZ * (kZ2 + 1) / 4;
  constexpr double kSecond = kZ * ((5 * kZ2 + 16) * kZ2 + 3) / 96;
  constexpr double kThird = kZ * (((3 * kZ2 + 19) * kZ2 + 17) * kZ2 - 15) / 384;
  return kZ + (kFirst + (kSecond + kThird / degrees) / degrees) / degrees;
}

}  // namespace zo2

// An interval for the ratio of two means by the bootstrap, with the process as the unit that is drawn.
//
// The ratio of means over whole processes is what Kalibera and Jones compare systems by (Rigorous benchmarking in
// reasonable time, ISMM 2013): a mean is a cost per step that adds up, and steps of one process are not independent.
// The interval is the percentile bootstrap (Efron and Tibshirani 1993) at the expanded level of Hesterberg (What
// teachers should know about the bootstrap, The American Statistician 69(4), 2015, section 4.5): with five values a
// side the plain one is too narrow, and holds the true ratio in less than nine of ten cases.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace zo2 {

inline constexpr size_t kLeastForInterval = 5;  // values a side
inline constexpr int kResamples = 10'000;
inline constexpr uint64_t kBootstrapSeed = 42;  // fixed, so that the same records give the same interval

struct Interval {
  double low = 0;
  double high = 0;
};

// The probability to cut off at each end for 95% with `count` values: Phi(-sqrt(n / (n - 1)) t(0.975, n - 1)).
double expanded_tail(size_t count);

// A 95% interval for mean(above) / mean(below). nullopt when a side has fewer than kLeastForInterval values or one that
// is not finite and above 0.
std::optional<Interval> ratio_interval(std::span<const double> above, std::span<const double> below);

}  // namespace zo2

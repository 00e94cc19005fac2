// Means and quantiles that several parts need.
#pragma once

#include <span>
#include <vector>

namespace zo2 {

double mean(std::span<const double> values);  // not empty

// With linear interpolation between neighbours; `sorted` is not empty, 0 <= q <= 1.
double sorted_quantile(std::span<const double> sorted, double q);

// Of values in any order, not empty; NaN when one of them is.
double median(std::vector<double> values);

// The 0.975 quantile of Student's t with `degrees` of freedom (Abramowitz and Stegun 26.7.5): 0.3% low at 4 degrees,
// better above.
double student_quantile(double degrees);

}  // namespace zo2

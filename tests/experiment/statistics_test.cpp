#include "experiment/statistics.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>

namespace zo2 {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST(Statistics, QuantilesLieBetweenNeighbours) {
  const std::array<double, 4> sorted{10, 20, 30, 40};
  EXPECT_EQ(sorted_quantile(sorted, 0), 10);
  EXPECT_EQ(sorted_quantile(sorted, 0.5), 25);
  EXPECT_DOUBLE_EQ(sorted_quantile(sorted, 0.9), 37);
  EXPECT_EQ(sorted_quantile(sorted, 1), 40);
}

TEST(Statistics, TheMedianIsTheMiddleOfValuesInAnyOrder) {
  EXPECT_EQ(median({7}), 7);
  EXPECT_EQ(median({3, 1, 2}), 2);
  EXPECT_EQ(median({4, 1, 3, 2}), 2.5);
  EXPECT_EQ(median({kInfinity, 1, 2}), 2) << "beside an infinite neighbour";
  EXPECT_TRUE(std::isnan(median({1, std::nan(""), 2})));
}

TEST(Statistics, StudentsQuantilesAreThoseOfTables) {
  EXPECT_NEAR(student_quantile(4), 2.77645, 0.003 * 2.77645);
  EXPECT_NEAR(student_quantile(19), 2.09302, 1e-4);
  EXPECT_NEAR(student_quantile(1e6), 1.95996, 1e-5);
}

}  // namespace
}  // namespace zo2

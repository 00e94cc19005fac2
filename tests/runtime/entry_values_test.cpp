#include "runtime/entry_values.h"

#include <gtest/gtest.h>

#include <limits>

namespace zo2 {
namespace {

constexpr EntryRule kRule{.learning_rate = 1e-3, .weight_decay = 0.1, .eps = 1e-3, .pairs = 3};

TEST(EntryValues, AreTheShareOfTheProjectedGradient) {
  const double g = (3.5 - 3.25) / (2 * 1e-3);
  const EntryValues values = entry_values(3.5, 3.25, kRule, 0);
  EXPECT_TRUE(values.finite);
  EXPECT_EQ(values.projected_gradient, g);
  EXPECT_EQ(values.alpha, static_cast<float>(1e-3 * g / 3));
  EXPECT_EQ(values.decay, static_cast<float>(1 - 1e-3 * 0.1));
}

TEST(EntryValues, OnlyTheFirstPairDecays) { EXPECT_EQ(entry_values(3.5, 3.25, kRule, 1).decay, 1.0f); }

TEST(EntryValues, ALossThatIsNotFiniteChangesNothing) {
  for (double loss : {std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN(), 1e300}) {
    SCOPED_TRACE(loss);  // the last: a gradient that float32's alpha cannot hold
    const EntryValues values = entry_values(loss, 3.0, kRule, 0);
    EXPECT_FALSE(values.finite);
    EXPECT_EQ(values.alpha, 0.0f);
    EXPECT_EQ(values.decay, 1.0f);
  }
}

}  // namespace
}  // namespace zo2

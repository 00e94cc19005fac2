#include "program/commit.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace zo2 {
namespace {

TEST(CommitRule, FoldedStepsEqualASimulationOfEveryPass) {
  constexpr int64_t kSteps = 200;
  for (int64_t period : {1, 2, 3, 4, 7, 8, 21, 32, 64}) {
    for (int64_t phase = 0; phase < 2 * period + 3; ++phase) {
      const CommitRule rule{period, phase};
      int64_t held = 0;  // entries of steps [0, held) are in the base
      for (int64_t step = 0; step < kSteps; ++step) {
        for (int64_t pass = 0; pass < 3; ++pass) {
          ASSERT_EQ(rule.folded_steps(step, pass), held)
              << "period " << period << ", phase " << phase << ", step " << step << ", pass " << pass;
          if (pass == 0 && (step + phase) % period == 0) held = step;
        }
      }
    }
  }
}

TEST(CommitRule, NeverLeavesMoreStepsPendingThanThePeriod) {
  for (int64_t period : {1, 2, 5, 64}) {
    for (int64_t phase = 0; phase < period; ++phase) {
      const CommitRule rule{period, phase};
      int64_t most = 0;
      for (int64_t step = 0; step < 300; ++step) most = std::max(most, step - rule.folded_steps(step));
      EXPECT_EQ(most, period) << "phase " << phase;
    }
  }
}

TEST(CommitRule, EveryStepCommitsTheSameShareOfConsecutiveWeights) {
  constexpr int64_t kPeriod = 8;
  for (int64_t step = 0; step < 20; ++step) {
    int64_t committing = 0;
    for (int64_t weight = 0; weight < 5 * kPeriod; ++weight) committing += CommitRule{kPeriod, weight}.commits_at(step);
    EXPECT_EQ(committing, 5) << "step " << step;
  }
}

}  // namespace
}  // namespace zo2

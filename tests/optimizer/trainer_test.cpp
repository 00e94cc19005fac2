// The loop by itself, on a stand-in executor.
#include "optimizer/trainer.h"

#include <gtest/gtest.h>

#include <deque>
#include <map>

#include "base/error.h"

namespace zo2 {
namespace {

// Makes entries without computing; those of a pair in `broken` have no finite gradient.
class StandinExecutor final : public Executor {
 public:
  StandinExecutor(int pairs, std::vector<int> broken) : pairs_(pairs), broken_(std::move(broken)) {}

  void start(int64_t, std::span<const LogEntry>) override {}
  void submit(PassInput input) override {
    StepResult result;
    for (int pair = 0; pair < pairs_; ++pair) {
      LogEntry entry;
      entry.step = static_cast<uint32_t>(input.step);
      entry.pair = static_cast<uint16_t>(pair);
      const bool non_finite = std::find(broken_.begin(), broken_.end(), pair) != broken_.end();
      entry.flags = non_finite ? kLogNonFinite : 0;
      result.entries.push_back(entry);
    }
    if (input.last_pass) results_.push_back(std::move(result));
  }
  StepResult next_result() override {
    StepResult result = std::move(results_.front());
    results_.pop_front();
    return result;
  }
  EvaluationResult evaluate(const Batch&) override { return {}; }
  std::vector<int32_t> next_tokens(const Batch&) override { return {}; }
  int64_t generation_batch() const override { return 0; }
  void sync_host() override {}
  MemoryMeter memory() const override { return {}; }

 private:
  int pairs_;
  std::vector<int> broken_;
  std::deque<StepResult> results_;
};

int64_t steps_run(int pairs, const std::vector<int>& broken) {
  StandinExecutor executor(pairs, broken);
  const auto data = random_tokens(100, 1, 4, 42);
  TrainerSettings settings;
  settings.steps = 25;
  int64_t steps = 0;
  try {
    Trainer(executor, *data, settings).run(0, 25, [&](const StepResult&) { ++steps; });
  } catch (const DivergedError&) {
    return -steps;
  }
  return steps;
}

TEST(Trainer, TenStepsWithoutAnyFiniteGradientEndTheRun) {
  EXPECT_EQ(steps_run(1, {}), 25);
  EXPECT_EQ(steps_run(1, {0}), -kMaxNonFiniteSteps);
  EXPECT_EQ(steps_run(3, {0, 1, 2}), -kMaxNonFiniteSteps);
}

TEST(Trainer, ADirectionWithoutAFiniteGradientEndsNothingWhileAnotherHasOne) { EXPECT_EQ(steps_run(3, {0, 2}), 25); }

}  // namespace
}  // namespace zo2

#include "runtime/candidate_loss.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/error.h"
#include "runtime/executor.h"

namespace zo2 {
namespace {

// Two examples: one of two candidates with one and two tokens, one of three with one token each.
const std::vector<float> kLogprobs{-1.0f, -1.0f, -4.0f, -3.0f, -0.5f, -0.5f};
const std::vector<int32_t> kSequenceEnds{1, 3, 4, 5, 6};
const std::vector<int32_t> kExampleEnds{2, 5};

double loss_of(const std::vector<int32_t>& answers, int32_t example, Objective objective) {
  const CandidateGroups groups{kSequenceEnds.data(), kExampleEnds.data(), answers.data()};
  return candidate_loss(kLogprobs.data(), groups, example, objective);
}

TEST(CandidateLoss, IsTheCrossEntropyOfMeanLogProbabilities) {
  // Logits -1 and -2.5.
  EXPECT_NEAR(loss_of({0, 0}, 0, Objective::candidates), std::log1p(std::exp(-1.5)), 1e-15);
  EXPECT_NEAR(loss_of({1, 0}, 0, Objective::candidates), 1.5 + std::log1p(std::exp(-1.5)), 1e-15);
  // Logits -3, -0.5 and -0.5.
  EXPECT_NEAR(loss_of({0, 2}, 1, Objective::candidates), std::log(2 + std::exp(-2.5)), 1e-15);
}

TEST(CandidateLoss, FarLogitsDoNotOverflow) {
  const std::vector<float> logprobs{-2000.0f, -1.0f};
  const std::vector<int32_t> ends{1, 2};
  const std::vector<int32_t> examples{2};
  const std::vector<int32_t> answers{0};
  const CandidateGroups groups{ends.data(), examples.data(), answers.data()};
  EXPECT_EQ(candidate_loss(logprobs.data(), groups, 0, Objective::candidates), 1999.0);
}

TEST(CandidateLoss, ErrorRateAsksForTheFirstOfTheLikeliest) {
  EXPECT_EQ(loss_of({0, 0}, 0, Objective::error_rate), 0.0);
  EXPECT_EQ(loss_of({1, 0}, 0, Objective::error_rate), 1.0);
  EXPECT_EQ(loss_of({0, 1}, 1, Objective::error_rate), 0.0);
  EXPECT_EQ(loss_of({0, 2}, 1, Objective::error_rate), 1.0);
}

Batch candidates() {
  return {.batch = 5,
          .seq = 3,
          .tokens = std::vector<int32_t>(15, 4),
          .rows = {0, 3, 4, 6, 9, 12},
          .targets = {1, 2, 3, 1, 2, 3},
          .sequence_ends = kSequenceEnds,
          .example_ends = kExampleEnds,
          .answers = {1, 2}};
}

TEST(CheckBatch, AcceptsCandidatesAndCountsExamples) {
  EXPECT_NO_THROW(check_batch(candidates(), 10, 3));
  EXPECT_EQ(candidates().terms(), 2);
  EXPECT_THROW(check_objective(candidates(), Objective::lm), UsageError);
}

TEST(CheckBatch, RefusesGroupsThatDoNotDivideTheBatch) {
  const auto refuses = [](auto spoil) {
    Batch batch = candidates();
    spoil(batch);
    EXPECT_THROW(check_batch(batch, 10, 3), UsageError);
  };
  refuses([](Batch& batch) { batch.sequence_ends.back() = 5; });
  refuses([](Batch& batch) { batch.sequence_ends[1] = 1; });
  refuses([](Batch& batch) { batch.sequence_ends.pop_back(); });
  refuses([](Batch& batch) { batch.example_ends.back() = 6; });
  refuses([](Batch& batch) { batch.example_ends = {5}; });
  refuses([](Batch& batch) { batch.answers[0] = 2; });
  refuses([](Batch& batch) { batch.answers[1] = -1; });
}

}  // namespace
}  // namespace zo2

#include "task/scoring.h"

#include <cmath>

#include "base/error.h"
#include "task/task_batches.h"
#include "task/testing.h"

namespace zo2 {
namespace {

using namespace zo2::testing;

// A model whose log-probability of a token is -token / 16 - position, with position counted in its own sequence.
EvaluationResult fake_model(const Batch& batch) {
  EvaluationResult result;
  for (size_t i = 0; i < batch.rows.size(); ++i) {
    const int64_t position = batch.rows[i] % batch.seq + 1;
    EXPECT_EQ(batch.tokens[static_cast<size_t>(batch.rows[i] + 1)], batch.targets[i]);
    result.logprobs.push_back(-static_cast<float>(batch.targets[i]) / 16 - static_cast<float>(position));
  }
  return result;
}

SequenceScore score_of(double sum, int64_t labels) { return {sum, labels}; }

class Scoring : public ::testing::Test {
 protected:
  TokenFile open(const std::vector<RawExample>& examples) {
    return TokenFile::open(folder_.write("a.tokens", token_file_bytes(examples)), 12);
  }
  TempFolder folder_;
};

TEST_F(Scoring, EverySequenceGetsItsOwnScoreWhateverSharesItsBatch) {
  const TokenFile file = open(small_examples());
  const std::vector<double> sums = {-8.0 / 16 - 3, -19.0 / 16 - 7, -1.0 / 16 - 2, -14.0 / 16 - 14, -11.0 / 16 - 2};
  for (int64_t batch : {1, 2, 3, 5, 100}) {
    int64_t batches = 0, done = 0;
    const auto evaluate = [&](const Batch& input) {
      EXPECT_LE(input.batch, batch);
      ++batches;
      return fake_model(input);
    };
    const auto scores = score_file(file, batch, evaluate, [&](int64_t count) { done = count; });
    ASSERT_EQ(scores.size(), sums.size());
    for (size_t i = 0; i < sums.size(); ++i) EXPECT_DOUBLE_EQ(scores[i].sum, sums[i]);
    EXPECT_EQ(scores[3].labels, 4);
    EXPECT_DOUBLE_EQ(scores[3].mean(), sums[3] / 4);
    EXPECT_EQ(batches, (5 + batch - 1) / batch);
    EXPECT_EQ(done, 5);
  }
}

TEST_F(Scoring, SequencesWithoutLabelsAreNotRun) {
  const TokenFile file = open({{{{{2, 5, 8}, 2, 3}, {{2, 5}, 2, 2}}, {0}}});
  const auto scores = score_file(file, 4, fake_model);
  EXPECT_EQ(scores[0].labels, 1);
  EXPECT_EQ(scores[1].labels, 0);
}

TEST_F(Scoring, NeighboursInLengthShareABatch) {
  std::vector<RawExample> examples;
  for (int i = 0; i < 8; ++i) examples.push_back({{{std::vector<int32_t>(i % 2 == 0 ? 3 : 9, 1), 1, 3}}, {0}});
  std::vector<int64_t> lengths;
  score_file(open(examples), 4, [&](const Batch& batch) {
    lengths.push_back(batch.seq);
    return fake_model(batch);
  });
  EXPECT_EQ(lengths, (std::vector<int64_t>{9, 3}));
}

TEST(Candidates, TheHighestMeanWinsNotTheHighestSum) {
  const std::vector<SequenceScore> scores = {score_of(-3, 1), score_of(-4, 2), score_of(-8, 4)};
  EXPECT_EQ(predicted_candidate(scores), 1);  // the first of equal ones
}

TEST(Candidates, TheLossIsCrossEntropyOfTheMeans) {
  const std::vector<SequenceScore> scores = {score_of(-2, 2), score_of(-2, 1)};  // means -1, -2
  EXPECT_NEAR(candidate_loss(scores, 0), std::log(1 + std::exp(-1.0)), 1e-15);
  EXPECT_NEAR(candidate_loss(scores, 1), 1 + std::log(1 + std::exp(-1.0)), 1e-15);
  const std::vector<SequenceScore> far = {score_of(-2000, 1), score_of(-1000, 1)};
  EXPECT_DOUBLE_EQ(candidate_loss(far, 0), 1000);
  const std::vector<SequenceScore> broken = {score_of(NAN, 1), score_of(-1, 1)};
  EXPECT_TRUE(std::isnan(candidate_loss(broken, 1)));
}

TEST_F(Scoring, ACandidateBatchHoldsWholeExamplesPaddedOnTheRight) {
  const TokenFile file = open(small_examples());
  const std::vector<int64_t> examples = {1, 0};
  const Batch batch = candidate_batch(file, examples);
  EXPECT_EQ(batch.example_ends, (std::vector<int32_t>{3, 5}));
  EXPECT_EQ(batch.answers, (std::vector<int32_t>{0, 1}));
  EXPECT_EQ(batch.sequence_ends, (std::vector<int32_t>{1, 5, 6, 7, 9}));
  EXPECT_EQ(batch.batch, 5);
  EXPECT_EQ(batch.seq, 6);
  EXPECT_EQ(batch.real_tokens, 3 + 6 + 3 + 4 + 5);
  EXPECT_EQ(batch.tokens, (std::vector<int32_t>{2, 7, 1, 0, 0, 0, 2, 7, 3, 3, 4, 4, 2, 7,  11,
                                                0, 0, 0, 2, 5, 6, 8, 0, 0, 2, 5, 6, 9, 10, 0}));
  EXPECT_EQ(batch.rows, (std::vector<int32_t>{1, 7, 8, 9, 10, 13, 20, 26, 27}));
  EXPECT_EQ(batch.targets, (std::vector<int32_t>{1, 3, 3, 4, 4, 11, 8, 9, 10}));
}

TEST_F(Scoring, TrainingTakesTheFirstRightSequenceInTheOrderOfTheSeed) {
  std::vector<RawExample> examples;
  for (int32_t i = 0; i < 10; ++i) {  // candidate i of the alphabet is the right one of example i
    examples.push_back({{{{2, 11}, 1, 2}, {{2, i}, 1, 2}}, {1}});
  }
  const auto source = right_sequences(open(examples), 4, 1, 7);
  EXPECT_EQ(source->longest(), 2);
  for (int64_t step = 0; step < 6; ++step) {
    std::vector<int32_t> expected;
    for (int64_t example : shuffled_examples(10, 4, step, 7)) expected.push_back(static_cast<int32_t>(example));
    EXPECT_EQ(source->batch(step, 0).targets, expected);
  }
}

TEST(Order, EveryEpochHasEachExampleOnceAndKeepsItsLastShortBatch) {
  for (int64_t epoch = 0; epoch < 3; ++epoch) {
    std::vector<int64_t> seen;
    for (int64_t i = 0; i < 63; ++i) {  // 63 batches for 1,000 examples
      const auto batch = shuffled_examples(1000, 16, epoch * 63 + i, 42);
      EXPECT_EQ(batch.size(), i == 62 ? 8U : 16U);
      seen.insert(seen.end(), batch.begin(), batch.end());
    }
    std::sort(seen.begin(), seen.end());
    for (int64_t i = 0; i < 1000; ++i) EXPECT_EQ(seen[static_cast<size_t>(i)], i);
  }
  EXPECT_NE(shuffled_examples(1000, 16, 0, 42), shuffled_examples(1000, 16, 63, 42));
  EXPECT_NE(shuffled_examples(1000, 16, 0, 42), shuffled_examples(1000, 16, 0, 43));
}

}  // namespace
}  // namespace zo2

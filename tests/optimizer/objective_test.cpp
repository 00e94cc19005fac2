// Training on losses over candidates: the same numbers wherever the weights live, and those of other code.
#include <cmath>

#include "base/error.h"
#include "optimizer/testing.h"
#include "task/sequences.h"

namespace zo2 {
namespace {

using testing::run;
using testing::tiny_job;
using testing::tiny_model;
using testing::Trace;

// Examples of two and three candidates; the last of a batch's two are the same for all steps but for a token.
class Candidates final : public BatchSource {
 public:
  Batch batch(int64_t step, int pass) const override {
    const auto word = static_cast<int32_t>(10 + 7 * step + pass);
    const std::vector<Sequence> sequences{labelled({2, 5, word, 11}, 1), labelled({2, 5, word, 30, 31}, 2),
                                          labelled({2, word, 9, 40}, 1), labelled({2, word, 9, 41, 42}, 2),
                                          labelled({2, word, 9, 43, 44}, 2)};
    Batch batch = make_batch({sequences.begin(), sequences.end()});
    batch.sequence_ends = {1, 3, 4, 6, 8};
    batch.example_ends = {2, 5};
    batch.answers = {1, 0};
    return batch;
  }
  int64_t batch_size() const override { return 5; }
  int64_t longest() const override { return 5; }
  int64_t labels() const override { return 8; }

 private:
  // The last `count` tokens are the candidate's.
  static Sequence labelled(std::vector<int32_t> ids, size_t count) {
    std::vector<int32_t> labels(ids.size(), kIgnored);
    std::copy(ids.end() - static_cast<std::ptrdiff_t>(count), ids.end(),
              labels.end() - static_cast<std::ptrdiff_t>(count));
    return {std::move(ids), std::move(labels)};
  }
};

TrainJob candidate_job(Objective objective, DType dtype, MethodKind method) {
  TrainJob job = tiny_job(tiny_model(), dtype, 12);
  job.data = std::make_unique<Candidates>();
  job.plan.objective = objective;
  job.method = method;
  return job;
}

TEST(Objective, OverCandidatesResidentAndOffloadedRunsAreEqualToTheBit) {
  for (int pairs : {1, 2}) {
    for (int passes : {1, 2}) {
      SCOPED_TRACE(fmt::format("pairs {} passes {}", pairs, passes));
      const auto make = [&](MethodKind method) {
        TrainJob job = candidate_job(Objective::candidates, DType::bf16, method);
        job.plan.pairs = pairs;
        job.trainer.micro_batches = passes;
        return run(std::move(job));
      };
      testing::expect_equal(make(MethodKind::resident), make(MethodKind::zo2));
    }
  }
}

TEST(Objective, OverCandidatesTheTextbookHasTheSameLosses) {
  const Trace ours = run(candidate_job(Objective::candidates, DType::f32, MethodKind::zo2));
  const Trace textbook = run(candidate_job(Objective::candidates, DType::f32, MethodKind::mezo));
  for (size_t i = 0; i < ours.entries.size(); ++i) {
    // Losses below 5 of log-probabilities near -5, a few hundred float32 roundings each.
    EXPECT_NEAR(ours.entries[i].loss_plus, textbook.entries[i].loss_plus, 5e-5) << i;
    EXPECT_NEAR(ours.entries[i].loss_minus, textbook.entries[i].loss_minus, 5e-5) << i;
    EXPECT_NE(ours.entries[i].projected_gradient, 0) << i;
  }
}

TEST(Objective, ErrorRatesAreSharesOfTheExamples) {
  TrainJob job = candidate_job(Objective::error_rate, DType::f32, MethodKind::zo2);
  job.executor.eps = 0.3f;  // far enough for answers to change
  bool moved = false;
  for (const LogEntry& entry : run(std::move(job)).entries) {
    EXPECT_EQ(std::fmod(2 * entry.loss_plus, 1), 0);
    moved = moved || entry.projected_gradient != 0;
  }
  EXPECT_TRUE(moved);
}

// More rows than were planned would run over the logits.
class MoreLabels final : public BatchSource {
 public:
  Batch batch(int64_t step, int pass) const override { return candidates_.batch(step, pass); }
  int64_t batch_size() const override { return candidates_.batch_size(); }
  int64_t longest() const override { return candidates_.longest(); }
  int64_t labels() const override { return 7; }

 private:
  Candidates candidates_;
};

TEST(Objective, ABatchWithMoreLabelsThanPlannedIsRefused) {
  TrainJob job = tiny_job(tiny_model(), DType::f32, 1);
  job.plan.objective = Objective::candidates;
  job.data = std::make_unique<MoreLabels>();
  const std::string message = testing::message_of<UsageError>([&] { run(std::move(job)); });
  EXPECT_NE(message.find("8 labelled tokens do not fit the planned 7"), std::string::npos) << message;
}

TEST(Objective, CandidatesAreNoTextToModel) {
  EXPECT_THROW(run(candidate_job(Objective::lm, DType::f32, MethodKind::zo2)), UsageError);
  EXPECT_THROW(run(candidate_job(Objective::lm, DType::f32, MethodKind::mezo)), UsageError);
  TrainJob text = tiny_job(tiny_model(), DType::f32, 2);
  text.plan.objective = Objective::candidates;
  EXPECT_THROW(run(std::move(text)), UsageError);
}

}  // namespace
}  // namespace zo2

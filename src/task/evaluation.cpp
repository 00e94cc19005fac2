#include "task/evaluation.h"

#include <algorithm>

#include "base/error.h"

namespace zo2 {
namespace {

class Sequences final : public EvaluationSet {
 public:
  explicit Sequences(std::vector<Sequence> sequences) : sequences_(std::move(sequences)) {
    ZO2_CHECK(!sequences_.empty(), UsageError, "the evaluation data has no sequences");
  }

  Evaluation evaluate(const EvaluateBatch& evaluate) const override {
    double loss = 0;
    size_t labels = 0;
    for (const Sequence& sequence : sequences_) {
      const EvaluationResult result = evaluate(make_batch({sequence}));
      loss += result.loss_sum;
      labels += result.logprobs.size();
    }
    return {loss / static_cast<double>(labels), {}};
  }
  Batch first_batch() const override { return make_batch({sequences_.front()}); }
  int64_t batch_size() const override { return 1; }
  int64_t longest() const override {
    size_t longest = 0;
    for (const Sequence& sequence : sequences_) longest = std::max(longest, sequence.input_ids.size());
    return static_cast<int64_t>(longest);
  }

 private:
  std::vector<Sequence> sequences_;
};

class Split final : public EvaluationSet {
 public:
  Split(TaskKind kind, TokenFile file, Objective objective, int64_t batch)
      : kind_(kind), file_(std::move(file)), objective_(objective), batch_(batch) {}

  Evaluation evaluate(const EvaluateBatch& evaluate) const override {
    const SplitEvaluation found = summarise(kind_, file_, score_file(file_, batch_, evaluate));
    return {found.loss(objective_), found.accuracy};
  }
  Batch first_batch() const override { return make_batch({file_.sequence(0)}); }
  int64_t batch_size() const override { return batch_; }
  int64_t longest() const override { return file_.longest(); }

 private:
  TaskKind kind_;
  TokenFile file_;
  Objective objective_;
  int64_t batch_;
};

}  // namespace

double SplitEvaluation::loss(Objective objective) const {
  if (objective == Objective::lm) return -right.mean();
  return objective == Objective::candidates ? *candidate_loss : 1 - accuracy->value();
}

SplitEvaluation summarise(TaskKind kind, const TokenFile& file, std::span<const SequenceScore> scores) {
  SplitEvaluation result;
  Proportion accuracy;
  double loss_sum = 0;
  for (int64_t example = 0; example < file.examples(); ++example) {
    const int64_t first = file.first_sequence(example);
    const auto own =
        scores.subspan(static_cast<size_t>(first), static_cast<size_t>(file.first_sequence(example + 1) - first));
    const auto right = file.right(example);
    result.right.sum += own[right.front()].sum;
    result.right.labels += own[right.front()].labels;
    if (kind != TaskKind::candidates) continue;
    ++accuracy.n;
    if (std::find(right.begin(), right.end(), predicted_candidate(own)) != right.end()) ++accuracy.right;
    loss_sum += candidate_loss(own, right.front());
  }
  if (kind == TaskKind::candidates) {
    result.accuracy = accuracy;
    result.candidate_loss = loss_sum / static_cast<double>(accuracy.n);
  }
  return result;
}

std::unique_ptr<EvaluationSet> evaluation_of(std::vector<Sequence> sequences) {
  return std::make_unique<Sequences>(std::move(sequences));
}

std::unique_ptr<EvaluationSet> evaluation_of(const Task& task, const TaskSplit& split, Objective objective,
                                             int64_t batch) {
  ZO2_CHECK(objective == Objective::lm || task.kind == TaskKind::candidates, UsageError,
            "task {} has no candidates: its objective is lm", task.name);
  return std::make_unique<Split>(task.kind, split.file, objective, batch);
}

}  // namespace zo2

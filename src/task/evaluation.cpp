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

  Evaluation evaluate(Executor& executor) const override {
    double loss = 0;
    size_t labels = 0;
    for (const Sequence& sequence : sequences_) {
      const EvaluationResult result = executor.evaluate(make_batch({sequence}));
      loss += result.loss_sum;
      labels += result.logprobs.size();
    }
    return {loss / static_cast<double>(labels), {}, {}};
  }
  Batch first_batch() const override { return make_batch({sequences_.front()}); }
  int64_t batch_size() const override { return 1; }
  int64_t longest() const override {
    size_t longest = 0;
    for (const Sequence& sequence : sequences_) longest = std::max(longest, sequence.input_ids.size());
    return static_cast<int64_t>(longest);
  }
  int64_t labels() const override {
    return most_labels(std::vector<SequenceView>(sequences_.begin(), sequences_.end()));
  }

 private:
  std::vector<Sequence> sequences_;
};

class Split final : public EvaluationSet {
 public:
  Split(std::shared_ptr<const Task> task, const std::string& split, Objective objective, int64_t batch, bool answering)
      : task_(std::move(task)),
        split_(task_->split(split)),
        objective_(objective),
        batch_(batch),
        answering_(answering && task_->kind == TaskKind::generation) {}

  Evaluation evaluate(Executor& executor) const override {
    const TokenFile& file = split_.file;
    const auto scores = score_file(file, batch_, [&](const Batch& batch) { return executor.evaluate(batch); });
    const SplitEvaluation found = summarise(task_->kind, file, scores);
    Evaluation result{found.loss(objective_), found.accuracy, {}};
    if (answering_) result.answers = summarise(generate_answers(executor, *task_, split_));
    return result;
  }
  Batch first_batch() const override { return make_batch({split_.file.sequence(0)}); }
  int64_t batch_size() const override { return batch_; }
  int64_t longest() const override { return split_.file.longest(); }
  int64_t labels() const override { return batch_ * split_.file.most_labels(); }
  GenerationShape generation() const override {
    if (!answering_) return {};
    return generation_shape(batch_, longest_of(prompts_of(split_.file)), task_->generation);
  }

 private:
  std::shared_ptr<const Task> task_;
  const TaskSplit& split_;
  Objective objective_;
  int64_t batch_;
  bool answering_;
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

std::vector<Answer> generate_answers(Executor& executor, const Task& task, const TaskSplit& split,
                                     const std::function<void(int64_t done)>& on_batch) {
  Generated generated = generate(executor, prompts_of(split.file), task.generation, /*cached=*/true, on_batch);
  std::vector<Answer> answers;
  for (size_t example = 0; example < generated.ids.size(); ++example) {
    Answer& answer = answers.emplace_back();
    answer.ids = std::move(generated.ids[example]);
    answer.text = task.vocabulary.text(answer.ids);
    answer.f1 = f1_score(answer.text, split.answers[example]);
    answer.exact = exact_match(answer.text, split.answers[example]);
  }
  return answers;
}

AnswerScores summarise(std::span<const Answer> answers) {
  AnswerScores scores;
  for (const Answer& answer : answers) {
    scores.f1.add(answer.f1);
    scores.exact.right += answer.exact ? 1 : 0;
    ++scores.exact.n;
  }
  return scores;
}

std::unique_ptr<EvaluationSet> evaluation_of(std::vector<Sequence> sequences) {
  return std::make_unique<Sequences>(std::move(sequences));
}

std::unique_ptr<EvaluationSet> evaluation_of(std::shared_ptr<const Task> task, const std::string& split,
                                             Objective objective, int64_t batch, bool answering) {
  ZO2_CHECK(objective == Objective::lm || task->kind == TaskKind::candidates, UsageError,
            "task {} has no candidates: its objective is lm", task->name);
  return std::make_unique<Split>(std::move(task), split, objective, batch, answering);
}

}  // namespace zo2

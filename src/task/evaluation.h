// Evaluations of a model on a data set: its loss, its accuracy where the examples have candidates, and the scores of
// generated answers.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "task/metrics.h"
#include "task/scoring.h"
#include "task/task.h"

namespace zo2 {

// What the scores of a split's sequences say.
struct SplitEvaluation {
  std::optional<Proportion> accuracy;    // candidates only
  std::optional<double> candidate_loss;  // candidates only: mean over examples
  SequenceScore right;                   // of the first right sequences together

  // What training by `objective` lowers, on this split.
  double loss(Objective objective) const;
};
SplitEvaluation summarise(TaskKind kind, const TokenFile& file, std::span<const SequenceScore> scores);

// What was generated after the prompt of one example.
struct Answer {
  std::vector<int32_t> ids;
  std::string text;
  double f1 = 0;  // against the answers that count as right
  bool exact = false;
};

struct AnswerScores {
  Mean f1;
  Proportion exact;
};

// The answers to every example of a generation task's split; `on_batch` hears how many are there.
std::vector<Answer> generate_answers(Executor& executor, const Task& task, const TaskSplit& split,
                                     const std::function<void(int64_t done)>& on_batch = nullptr);
AnswerScores summarise(std::span<const Answer> answers);

struct Evaluation {
  double loss = 0;
  std::optional<Proportion> accuracy;
  std::optional<AnswerScores> answers;
};

class EvaluationSet {
 public:
  virtual ~EvaluationSet() = default;
  virtual Evaluation evaluate(Executor& executor) const = 0;
  virtual Batch first_batch() const = 0;                     // to try out what an evaluation needs
  virtual int64_t batch_size() const = 0;                    // most sequences of a batch
  virtual int64_t longest() const = 0;                       // tokens of the longest sequence
  virtual int64_t labels() const = 0;                        // labelled tokens of a batch, at most
  virtual GenerationShape generation() const { return {}; }  // what is generated
};

// The mean loss of a label; one sequence at a time. Throws UsageError when there are none.
std::unique_ptr<EvaluationSet> evaluation_of(std::vector<Sequence> sequences);

// The split's loss by `objective`, in batches of at most `batch` sequences of like length; `answering` generates and
// scores answers too, where the task has prompts to answer. Throws UsageError for an objective over candidates where
// the task has none, or for a split that is not there.
std::unique_ptr<EvaluationSet> evaluation_of(std::shared_ptr<const Task> task, const std::string& split,
                                             Objective objective, int64_t batch, bool answering);

}  // namespace zo2

// Evaluations of a model on a data set: its loss, and its accuracy where the examples have candidates.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
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

struct Evaluation {
  double loss = 0;
  std::optional<Proportion> accuracy;
};

using EvaluateBatch = std::function<EvaluationResult(const Batch&)>;  // Executor::evaluate

class EvaluationSet {
 public:
  virtual ~EvaluationSet() = default;
  virtual Evaluation evaluate(const EvaluateBatch& evaluate) const = 0;
  virtual Batch first_batch() const = 0;   // to try out what an evaluation needs
  virtual int64_t batch_size() const = 0;  // most sequences of a batch
  virtual int64_t longest() const = 0;     // tokens of the longest sequence
};

// The mean loss of a label; one sequence at a time. Throws UsageError when there are none.
std::unique_ptr<EvaluationSet> evaluation_of(std::vector<Sequence> sequences);

// The split's loss by `objective`, in batches of at most `batch` sequences of like length. Throws UsageError for an
// objective over candidates where the task has none.
std::unique_ptr<EvaluationSet> evaluation_of(const Task& task, const TaskSplit& split, Objective objective,
                                             int64_t batch);

}  // namespace zo2

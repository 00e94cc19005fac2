// Scores of sequences by their labels' log-probabilities, and what follows from them for candidates.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "runtime/executor.h"
#include "task/token_file.h"

namespace zo2 {

struct SequenceScore {
  double sum = 0;  // of the labels' log-probabilities
  int64_t labels = 0;

  double mean() const { return sum / static_cast<double>(labels); }
};

// The scores of a batch's sequences. `logprobs` belong to batch.rows, as Executor::evaluate gives them.
std::vector<SequenceScore> sequence_scores(const Batch& batch, std::span<const float> logprobs);

// The scores of every sequence of a file, in its order; those without labels have none. Sequences of like length share
// a batch of at most `batch`, so that little is padded. `evaluate` is Executor::evaluate; `on_batch` hears how many
// sequences are done.
std::vector<SequenceScore> score_file(const TokenFile& file, int64_t batch,
                                      const std::function<EvaluationResult(const Batch&)>& evaluate,
                                      const std::function<void(int64_t done)>& on_batch = nullptr);

// MeZO's prediction (arXiv 2305.17333; run.py, one_step_pred): the candidate with the highest mean log-probability, the
// first of equal ones. `scores` are those of one example's candidates.
int64_t predicted_candidate(std::span<const SequenceScore> scores);

// MeZO's loss over candidates (utils.py, forward_wrap_with_option_len): cross-entropy with the mean log-probabilities
// as logits. Not finite when one of them is not.
double candidate_loss(std::span<const SequenceScore> scores, int64_t right);

}  // namespace zo2

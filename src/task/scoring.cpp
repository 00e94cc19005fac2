#include "task/scoring.h"

#include <algorithm>

#include "base/error.h"
#include "runtime/candidate_loss.h"

namespace zo2 {

std::vector<SequenceScore> sequence_scores(const Batch& batch, std::span<const float> logprobs) {
  ZO2_ASSERT(logprobs.size() == batch.rows.size());
  std::vector<SequenceScore> scores(static_cast<size_t>(batch.batch));
  for (size_t i = 0; i < logprobs.size(); ++i) {
    SequenceScore& score = scores[static_cast<size_t>(batch.rows[i] / batch.seq)];
    score.sum += logprobs[i];
    ++score.labels;
  }
  return scores;
}

std::vector<SequenceScore> score_file(const TokenFile& file, int64_t batch,
                                      const std::function<EvaluationResult(const Batch&)>& evaluate,
                                      const std::function<void(int64_t done)>& on_batch) {
  ZO2_CHECK(batch >= 1, UsageError, "a batch of {} sequences; at least 1", batch);
  std::vector<int64_t> order;
  for (int64_t i = 0; i < file.sequences(); ++i) {
    if (!file.sequence(i).labels.empty()) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return file.sequence(a).input_ids.size() > file.sequence(b).input_ids.size();
  });
  std::vector<SequenceScore> scores(static_cast<size_t>(file.sequences()));
  const auto count = static_cast<int64_t>(order.size());
  for (int64_t first = 0; first < count; first += batch) {
    const int64_t end = std::min(count, first + batch);
    std::vector<SequenceView> views;
    for (int64_t i = first; i < end; ++i) views.push_back(file.sequence(order[static_cast<size_t>(i)]));
    const Batch input = make_batch(views);
    const std::vector<SequenceScore> found = sequence_scores(input, evaluate(input).logprobs);
    for (int64_t i = first; i < end; ++i) {
      scores[static_cast<size_t>(order[static_cast<size_t>(i)])] = found[static_cast<size_t>(i - first)];
    }
    if (on_batch) on_batch(end);
  }
  return scores;
}

int64_t predicted_candidate(std::span<const SequenceScore> scores) {
  return likeliest_candidate(static_cast<int32_t>(scores.size()),
                             [&](int32_t candidate) { return scores[static_cast<size_t>(candidate)].mean(); });
}

double candidate_loss(std::span<const SequenceScore> scores, int64_t right) {
  return candidate_cross_entropy(static_cast<int32_t>(scores.size()), static_cast<int32_t>(right),
                                 [&](int32_t candidate) { return scores[static_cast<size_t>(candidate)].mean(); });
}

}  // namespace zo2

// Losses over candidates (MeZO, arXiv 2305.17333, its appendix on the training of classification tasks): every answer
// that an example could have is a sequence of the batch, and the mean log-probability of its labelled tokens a logit.
// One for the CPU, for the device, which never sends log-probabilities back, and for scores.
#pragma once

#include <cmath>
#include <cstdint>

#include "noise/host_device.h"
#include "program/ops.h"

namespace zo2 {

// Views of a batch: `sequence_ends`, `example_ends` and `answers` as in Batch (runtime/executor.h).
struct CandidateGroups {
  const int32_t* sequence_ends;
  const int32_t* example_ends;
  const int32_t* answers;
};

ZO2_HOST_DEVICE double mean_log_probability(const float* logprobs, const CandidateGroups& groups, int32_t sequence) {
  const int32_t first = sequence == 0 ? 0 : groups.sequence_ends[sequence - 1];
  const int32_t end = groups.sequence_ends[sequence];
  double sum = 0;
  for (int32_t row = first; row < end; ++row) sum += static_cast<double>(logprobs[row]);
  return sum / (end - first);
}

// The likeliest of candidates 0 ... count - 1, the first of equals. `logit` is a function of the candidate.
template <typename Logit>
ZO2_HOST_DEVICE int32_t likeliest_candidate(int32_t count, const Logit& logit) {
  int32_t best = 0;
  for (int32_t candidate = 1; candidate < count; ++candidate) {
    if (logit(candidate) > logit(best)) best = candidate;
  }
  return best;
}

// Cross-entropy of the right candidate, `answer`.
template <typename Logit>
ZO2_HOST_DEVICE double candidate_cross_entropy(int32_t count, int32_t answer, const Logit& logit) {
  const double highest = logit(likeliest_candidate(count, logit));
  double sum = 0;
  for (int32_t candidate = 0; candidate < count; ++candidate) sum += exp(logit(candidate) - highest);
  return highest + log(sum) - logit(answer);
}

// Of one example: cross-entropy over its candidates, or whether the likeliest one is wrong.
ZO2_HOST_DEVICE double candidate_loss(const float* logprobs, const CandidateGroups& groups, int32_t example,
                                      Objective objective) {
  const int32_t first = example == 0 ? 0 : groups.example_ends[example - 1];
  const int32_t count = groups.example_ends[example] - first;
  const int32_t answer = groups.answers[example];
  const auto logit = [&](int32_t candidate) { return mean_log_probability(logprobs, groups, first + candidate); };
  if (objective == Objective::error_rate) return likeliest_candidate(count, logit) == answer ? 0.0 : 1.0;
  return candidate_cross_entropy(count, answer, logit);
}

}  // namespace zo2

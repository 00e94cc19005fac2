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

// Of one example: cross-entropy over its candidates' logits, or whether the best one (the first of equals) is wrong.
ZO2_HOST_DEVICE double candidate_loss(const float* logprobs, const CandidateGroups& groups, int32_t example,
                                      Objective objective) {
  const int32_t first = example == 0 ? 0 : groups.example_ends[example - 1];
  const int32_t end = groups.example_ends[example];
  const int32_t answer = first + groups.answers[example];
  int32_t best = first;
  double highest = mean_log_probability(logprobs, groups, first);
  for (int32_t sequence = first + 1; sequence < end; ++sequence) {
    const double logit = mean_log_probability(logprobs, groups, sequence);
    if (logit > highest) {
      highest = logit;
      best = sequence;
    }
  }
  if (objective == Objective::error_rate) return best == answer ? 0.0 : 1.0;
  double sum = 0;
  for (int32_t sequence = first; sequence < end; ++sequence) {
    sum += exp(mean_log_probability(logprobs, groups, sequence) - highest);
  }
  return highest + log(sum) - mean_log_probability(logprobs, groups, answer);
}

}  // namespace zo2

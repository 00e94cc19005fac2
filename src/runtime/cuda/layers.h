// Row-wise kernels between the matrix products. Activations [rows, cols] in the weights' dtype, statistics, logits and
// log-sum-exp in float32, sums of losses in float64. Every reduction has a fixed order. Asynchronous on the stream.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"
#include "runtime/candidate_loss.h"
#include "runtime/cuda/entry.h"

namespace zo2::cuda {

// `count` words from mapped host memory, read by a kernel: a copy would queue behind the tile being uploaded.
void copy_words(const int32_t* from, int32_t* to, int64_t count, cudaStream_t stream);

inline constexpr int64_t kMostNormCols = 24576;  // a row in float32 fits the shared memory of every sm_80 and newer

// out = (in - mean) / sqrt(variance + 1e-5) * gamma + beta over each row of at most kMostNormCols; out may be in.
void layer_norm(DType dtype, const std::byte* in, const std::byte* gamma, const std::byte* beta, std::byte* out,
                int64_t rows, int64_t cols, cudaStream_t stream);

// out[i] = in[index[i]], rows of row_bytes.
void select_rows(const std::byte* in, const int32_t* index, std::byte* out, int64_t rows, int64_t row_bytes,
                 cudaStream_t stream);

// The running log-sum-exp of labelled rows over tiles of the vocabulary, [rows] each.
struct LogSumExp {
  float* maximum;
  float* sum;
  float* target;
};

// Takes in logits [rows, vocab_rows], the columns being vocabulary entries from vocab_first; `fresh` starts over.
void update_log_sum_exp(const float* logits, const int32_t* targets, int64_t vocab_first, int64_t vocab_rows,
                        bool fresh, const LogSumExp& state, int64_t rows, cudaStream_t stream);

// logprobs = target - (maximum + log(sum)), [rows]; *loss, where there is one, += the sum of -logprobs, in float64.
void finish_log_probabilities(const LogSumExp& state, int64_t rows, float* logprobs, double* loss, cudaStream_t stream);

// loss += the losses of `examples` over their candidates (runtime/candidate_loss.h).
void add_candidate_losses(const float* logprobs, const CandidateGroups& groups, int32_t examples, Objective objective,
                          double* loss, cudaStream_t stream);

// losses [2 * pairs] (sums, + before -) -> projected gradients -> one entry a pair, in the ring from `first_entry` and
// in mapped host memory.
struct EntryInput {
  EntryRule rule;
  uint64_t seed;
  double terms;  // what the losses are means of
  uint32_t step;
};
void make_entries(const double* losses, const EntryInput& input, DeviceEntry* ring, uint32_t first_entry,
                  EntryResult* results, cudaStream_t stream);

}  // namespace zo2::cuda

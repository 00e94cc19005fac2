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

// Rows of `in`, [batch, seq, row_bytes], to a cache [batch, capacity, row_bytes]: those of sequence i from positions[i]
// on, or from 0 when positions is null.
void keep_rows(const std::byte* in, const int32_t* positions, std::byte* cache, int64_t batch, int64_t seq,
               int64_t capacity, int64_t row_bytes, cudaStream_t stream);

// What cached_attention goes over. q and out are [batch, heads * head_dim]; keys and values [batch, capacity, heads *
// head_dim], of which sequence i has positions[i] + 1.
struct CachedAttention {
  const std::byte* q;
  const std::byte* keys;
  const std::byte* values;
  const int32_t* positions;
  std::byte* out;
  int64_t batch;
  int64_t heads;
  int64_t head_dim;
  int64_t capacity;
};

inline constexpr int64_t kMostCacheTokens = 24576;  // their scores fit the shared memory of every sm_80 and newer

// out = softmax(q k^T / sqrt(head_dim)) v; scores, softmax and sums in float32.
void cached_attention(DType dtype, const CachedAttention& shape, cudaStream_t stream);

// The running log-sum-exp of labelled rows over tiles of the vocabulary, [rows] each.
struct LogSumExp {
  float* maximum;
  float* sum;
  float* target;
};

// Takes in logits [rows, vocab_rows], the columns being vocabulary entries from vocab_first; `fresh` starts over.
void update_log_sum_exp(const float* logits, const int32_t* targets, int64_t vocab_first, int64_t vocab_rows,
                        bool fresh, const LogSumExp& state, int64_t rows, cudaStream_t stream);

// The running arg-max of rows over tiles of the vocabulary, [rows] each.
struct ArgMax {
  int32_t* index;
  float* best;
};

// Takes in logits as update_log_sum_exp does. Of equal ones the first wins, and a NaN is greater than any number.
void update_arg_max(const float* logits, int64_t vocab_first, int64_t vocab_rows, bool fresh, const ArgMax& state,
                    int64_t rows, cudaStream_t stream);

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

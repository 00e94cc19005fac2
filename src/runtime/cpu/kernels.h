// Element-wise and row-wise kernels of the CPU runtime, over rows [first, last) so that the caller can split them over
// threads. Activations are in the weights' dtype, row-major with a leading dimension in elements; statistics, logits
// and log-sum-exp in float32. No LibTorch.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"

namespace zo2::cpu {

// out = (in - mean) / sqrt(variance + 1e-5) * gamma + beta over each row of `cols`; out may be in.
void layer_norm(DType dtype, const std::byte* in, const std::byte* gamma, const std::byte* beta, std::byte* out,
                int64_t cols, int64_t first, int64_t last);

// panel[:, 0..cols) += bias, then ReLU if asked; rows are `stride` elements apart.
void add_bias(DType dtype, std::byte* panel, const std::byte* bias, bool relu, int64_t cols, int64_t stride,
              int64_t first, int64_t last);

// a += b, [rows, cols].
void add_rows(DType dtype, std::byte* a, const std::byte* b, int64_t count);

// The running log-sum-exp of labelled rows over tiles of the vocabulary: maximum, sum of exp(logit - maximum), and the
// logit of the target, each [rows].
struct LogSumExp {
  float* maximum = nullptr;
  float* sum = nullptr;
  float* target = nullptr;
};

// Takes in logits [rows, vocab_rows], the columns being vocabulary entries [vocab_first, vocab_first + vocab_rows).
// `fresh` starts over.
void update_log_sum_exp(const float* logits, const int32_t* targets, int64_t vocab_first, int64_t vocab_rows,
                        bool fresh, const LogSumExp& state, int64_t first, int64_t last);

// The running arg-max of rows over tiles of the vocabulary, [rows] each.
struct ArgMax {
  int32_t* index = nullptr;
  float* best = nullptr;
};

// Takes in logits as update_log_sum_exp does. Of equal ones the first wins, and a NaN is greater than any number, as in
// torch.argmax.
void update_arg_max(const float* logits, int64_t vocab_first, int64_t vocab_rows, bool fresh, const ArgMax& state,
                    int64_t first, int64_t last);

// out = softmax(q k^T / sqrt(head_dim)) v of one query over `count` positions; keys and values are `stride` elements
// apart. Scores, softmax and sums in float32.
void attend(DType dtype, const std::byte* q, const std::byte* keys, const std::byte* values, std::byte* out,
            int64_t head_dim, int64_t stride, int64_t count);

// logprobs = target - (maximum + log(sum)); returns the sum of -logprobs in float64, in row order.
double finish_log_probabilities(const LogSumExp& state, int64_t rows, float* logprobs);

}  // namespace zo2::cpu

// Matrix products and attention of the CPU runtime, by LibTorch (MKL, oneDNN). Results go into memory of the caller.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"

namespace zo2::cpu {

// panel = or += in W^T. in [rows, in_cols], weights [out_rows, in_cols], panel [rows, out_rows] with rows `stride`
// elements apart. 16-bit products accumulate in float32 and round once.
void matmul(DType dtype, const std::byte* in, const std::byte* weights, std::byte* panel, int64_t rows, int64_t in_cols,
            int64_t out_rows, int64_t stride, bool accumulate);

// logits [rows, out_rows] in float32 = in W^T, without a 16-bit rounding in between.
void matmul_to_float(DType dtype, const std::byte* in, const std::byte* weights, float* logits, int64_t rows,
                     int64_t in_cols, int64_t out_rows);

// Causal scaled-dot-product attention. q, k, v, and the result are [batch, seq, heads * head_dim]; the result starts at
// `region`, whose rest LibTorch uses for itself.
void attention(DType dtype, const std::byte* q, const std::byte* k, const std::byte* v, std::byte* region,
               int64_t region_bytes, int64_t batch, int64_t seq, int64_t heads, int64_t head_dim);

// The bytes of `region` that such a call takes beyond its result.
int64_t measure_attention_workspace(DType dtype, int64_t batch, int64_t seq, int64_t heads, int64_t head_dim);

// Compute threads of the calling thread.
void set_threads(int threads);
int default_threads();

}  // namespace zo2::cpu

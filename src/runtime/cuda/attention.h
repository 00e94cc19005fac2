// Attention on the device, by LibTorch: FlashAttention for 16-bit types, the memory-efficient kernel for float32.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"
#include "runtime/cuda/libtorch.h"  // load_libtorch_cuda comes first

namespace zo2::cuda {

// Causal scaled-dot-product attention. q, k, v and the result are [batch, seq, heads * head_dim]; the result starts at
// `region`, whose rest LibTorch uses for itself.
void attention(DType dtype, const std::byte* q, const std::byte* k, const std::byte* v, std::byte* region,
               int64_t region_bytes, int64_t batch, int64_t seq, int64_t heads, int64_t head_dim, cudaStream_t stream);

// The bytes of `region` that such a call takes beyond its result, by making one on zeros.
int64_t measure_attention_workspace(DType dtype, int64_t batch, int64_t seq, int64_t heads, int64_t head_dim);

}  // namespace zo2::cuda

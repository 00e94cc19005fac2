#include "runtime/cuda/attention.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAStream.h>

#include <optional>
#include <tuple>

#include "runtime/cuda/region_allocator.h"
#include "runtime/cuda/resources.h"

namespace zo2::cuda {
namespace {

at::TensorOptions options_of(DType dtype) {
  const auto type = dtype == DType::f32 ? at::kFloat : dtype == DType::f16 ? at::kHalf : at::kBFloat16;
  return at::TensorOptions().dtype(type).device(at::kCUDA, 0);
}

// [batch, heads, seq, head_dim] over [batch, seq, heads, head_dim].
at::Tensor heads_view(DType dtype, const std::byte* data, int64_t batch, int64_t seq, int64_t heads, int64_t head_dim) {
  const int64_t width = heads * head_dim;
  return at::for_blob(const_cast<std::byte*>(data), {batch, heads, seq, head_dim})
      .strides({seq * width, head_dim, width, 1})
      .options(options_of(dtype))
      .target_device(at::Device(at::kCUDA, 0))
      .make_tensor();
}

// Whether FlashAttention may split the keys of a call of this shape, which fills fewer than 0.8 of twice the
// multiprocessors with blocks of 64 rows (num_splits_heuristic in PyTorch's flash_api.cpp): its float32 partial results
// are larger than all that a large shape needs, so that no region measured at the planned shape would hold them.
bool may_split(int64_t batch, int64_t seq, int64_t heads) {
  static const int64_t multiprocessors = [] {
    int count = 0;
    ZO2_CUDA_CHECK(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, 0));
    return int64_t{count};
  }();
  return 10 * batch * heads * ((seq + 63) / 64) < 16 * multiprocessors;
}

// The kernel is a function of dtype and shape alone, and every call of a smaller shape needs no more memory.
at::Tensor causal_attention(DType dtype, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  if (dtype == DType::f32 || may_split(q.size(0), q.size(2), q.size(1))) {
    return std::get<0>(at::_scaled_dot_product_efficient_attention(q, k, v, std::nullopt,
                                                                   /*compute_log_sumexp=*/false, 0.0,
                                                                   /*is_causal=*/true));
  }
  return std::get<0>(at::_scaled_dot_product_flash_attention(q, k, v, 0.0, /*is_causal=*/true));
}

// Makes LibTorch enqueue on `stream` while it lives.
class CurrentStream {
 public:
  explicit CurrentStream(cudaStream_t stream) : before_(c10::cuda::getCurrentCUDAStream(0)) {
    c10::cuda::setCurrentCUDAStream(c10::cuda::getStreamFromExternal(stream, 0));
  }
  ~CurrentStream() { c10::cuda::setCurrentCUDAStream(before_); }
  CurrentStream(const CurrentStream&) = delete;
  CurrentStream& operator=(const CurrentStream&) = delete;

 private:
  c10::cuda::CUDAStream before_;
};

}  // namespace

void attention(DType dtype, const std::byte* q, const std::byte* k, const std::byte* v, std::byte* region,
               int64_t region_bytes, int64_t batch, int64_t seq, int64_t heads, int64_t head_dim, cudaStream_t stream) {
  const c10::InferenceMode inference;
  const CurrentStream current(stream);
  const RegionScope scope(region, region_bytes, "attention");
  const at::Tensor out = causal_attention(dtype, heads_view(dtype, q, batch, seq, heads, head_dim),
                                          heads_view(dtype, k, batch, seq, heads, head_dim),
                                          heads_view(dtype, v, batch, seq, heads, head_dim));
  ZO2_ASSERT(out.transpose(1, 2).is_contiguous());
  if (out.data_ptr() == region) return;
  ZO2_ASSERT(out.data_ptr() >= region + batch * seq * heads * head_dim * dtype_bytes(dtype));
  const auto bytes = static_cast<size_t>(batch * seq * heads * head_dim * dtype_bytes(dtype));
  ZO2_CUDA_CHECK(cudaMemcpyAsync(region, out.data_ptr(), bytes, cudaMemcpyDeviceToDevice, stream));
}

int64_t measure_attention_workspace(DType dtype, int64_t batch, int64_t seq, int64_t heads, int64_t head_dim) {
  load_libtorch_cuda();
  const c10::InferenceMode inference;
  int64_t used = 0;
  {
    const at::Tensor x = at::zeros({batch, seq, heads * head_dim}, options_of(dtype));
    const at::Tensor view = heads_view(dtype, static_cast<const std::byte*>(x.data_ptr()), batch, seq, heads, head_dim);
    const RegionScope counter(nullptr, 0, "attention");
    causal_attention(dtype, view, view, view);
    used = counter.used_bytes();
  }
  synchronize_device();
  c10::cuda::CUDACachingAllocator::emptyCache();
  return used - batch * seq * heads * head_dim * dtype_bytes(dtype) + RegionScope::kScalarsBytes;
}

}  // namespace zo2::cuda

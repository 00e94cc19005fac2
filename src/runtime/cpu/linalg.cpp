#include "runtime/cpu/linalg.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <cmath>
#include <cstring>
#include <tuple>

#include "base/error.h"
#include "runtime/cpu/region_allocator.h"

#if defined(__x86_64__)
// MKL's mixed products: libtorch_cpu exports them, LibTorch has no operator for them on CPU.
extern "C" {
void cblas_gemm_bf16bf16f32(int layout, int trans_a, int trans_b, int m, int n, int k, float alpha, const void* a,
                            int lda, const void* b, int ldb, float beta, float* c, int ldc);
void cblas_gemm_f16f16f32(int layout, int trans_a, int trans_b, int m, int n, int k, float alpha, const void* a,
                          int lda, const void* b, int ldb, float beta, float* c, int ldc);
}
#endif

namespace zo2::cpu {
namespace {

c10::ScalarType scalar_type(DType dtype) {
  return dtype == DType::f32 ? at::kFloat : dtype == DType::f16 ? at::kHalf : at::kBFloat16;
}

at::Tensor view(DType dtype, const std::byte* data, at::IntArrayRef sizes, at::IntArrayRef strides) {
  return at::from_blob(const_cast<std::byte*>(data), sizes, strides, at::TensorOptions().dtype(scalar_type(dtype)));
}

}  // namespace

void matmul(DType dtype, const std::byte* in, const std::byte* weights, std::byte* panel, int64_t rows, int64_t in_cols,
            int64_t out_rows, int64_t stride, bool accumulate) {
  const c10::InferenceMode inference;
  const CountingScope packing("matrix product");
  const at::Tensor x = view(dtype, in, {rows, in_cols}, {in_cols, 1});
  const at::Tensor w = view(dtype, weights, {in_cols, out_rows}, {1, in_cols});
  at::Tensor out = view(dtype, panel, {rows, out_rows}, {stride, 1});
  if (accumulate) {
    at::addmm_out(out, out, x, w);
  } else {
    at::mm_out(out, x, w);
  }
}

void matmul_to_float(DType dtype, const std::byte* in, const std::byte* weights, float* logits, int64_t rows,
                     int64_t in_cols, int64_t out_rows) {
  if (dtype == DType::f32) {
    matmul(dtype, in, weights, reinterpret_cast<std::byte*>(logits), rows, in_cols, out_rows, out_rows, false);
    return;
  }
#if defined(__x86_64__)
  constexpr int kRowMajor = 101;
  constexpr int kNoTrans = 111;
  constexpr int kTrans = 112;
  const auto gemm = dtype == DType::bf16 ? cblas_gemm_bf16bf16f32 : cblas_gemm_f16f16f32;
  gemm(kRowMajor, kNoTrans, kTrans, static_cast<int>(rows), static_cast<int>(out_rows), static_cast<int>(in_cols), 1.0f,
       in, static_cast<int>(in_cols), weights, static_cast<int>(in_cols), 0.0f, logits, static_cast<int>(out_rows));
#else
  const c10::InferenceMode inference;
  at::Tensor target = view(DType::f32, reinterpret_cast<const std::byte*>(logits), {rows, out_rows}, {out_rows, 1});
  target.copy_(at::mm(view(dtype, in, {rows, in_cols}, {in_cols, 1}).to(at::kFloat),
                      view(dtype, weights, {in_cols, out_rows}, {1, in_cols}).to(at::kFloat)));
#endif
}

void attention(DType dtype, const std::byte* q, const std::byte* k, const std::byte* v, std::byte* region,
               int64_t region_bytes, int64_t batch, int64_t seq, int64_t heads, int64_t head_dim) {
  const c10::InferenceMode inference;
  const int64_t width = heads * head_dim;
  const int64_t sizes[4] = {batch, heads, seq, head_dim};
  const int64_t strides[4] = {seq * width, head_dim, width, 1};
  const RegionScope scope(region, region_bytes, "attention");
  const auto result = at::_scaled_dot_product_flash_attention_for_cpu(
      view(dtype, q, sizes, strides), view(dtype, k, sizes, strides), view(dtype, v, sizes, strides), 0.0,
      /*is_causal=*/true);
  const at::Tensor& out = std::get<0>(result);  // [batch, heads, seq, head_dim] over [batch, seq, heads, head_dim]
  ZO2_ASSERT(out.transpose(1, 2).is_contiguous());
  const auto bytes = static_cast<size_t>(batch * seq * width * dtype_bytes(dtype));
  if (region != nullptr && out.data_ptr() != region) std::memmove(region, out.data_ptr(), bytes);
}

int64_t measure_attention_workspace(DType dtype, int64_t batch, int64_t seq, int64_t heads, int64_t head_dim) {
  const c10::InferenceMode inference;
  const int64_t width = heads * head_dim;
  const at::Tensor x = at::zeros({batch, seq, width}, at::TensorOptions().dtype(scalar_type(dtype)));
  const auto* data = static_cast<const std::byte*>(x.data_ptr());
  const CountingScope counter("attention");
  const int64_t sizes[4] = {batch, heads, seq, head_dim};
  const int64_t strides[4] = {seq * width, head_dim, width, 1};
  const at::Tensor t = view(dtype, data, sizes, strides);
  at::_scaled_dot_product_flash_attention_for_cpu(t, t, t, 0.0, /*is_causal=*/true);
  return counter.used_bytes() - batch * seq * width * dtype_bytes(dtype) + 64;
}

void set_threads(int threads) { at::set_num_threads(threads); }

int default_threads() { return at::get_num_threads(); }

}  // namespace zo2::cpu

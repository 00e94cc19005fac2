// Matrix products by cuBLASLt, straight into strided panels of program buffers, bias, ReLU and the residual sum fused.
//
// The algorithm is the heuristics' first for the shape, layout and alignment, chosen once: the same shapes give the
// same bits, wherever the weights live. float32 without TF32; 16-bit inputs accumulate in float32, partial sums too.
#pragma once

#include <cublasLt.h>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>

#include "base/dtype.h"
#include "runtime/cuda/resources.h"

namespace zo2::cuda {

inline constexpr int64_t kGemmWorkspaceBytes = int64_t{32} << 20;  // NVIDIA's advice for Hopper

struct GemmShape {
  DType dtype = DType::f16;
  int64_t rows = 0;      // of `in` and `out`: tokens
  int64_t in_cols = 0;   // of `in` and `weights`
  int64_t out_cols = 0;  // rows of `weights`
  int64_t stride = 0;    // of `out`, in elements
  int64_t column = 0;    // of the panel's first element in `out`: its alignment
  bool bias = false;
  bool relu = false;
  bool accumulate = false;
  bool float_out = false;

  auto operator<=>(const GemmShape&) const = default;
};

class Gemm {
 public:
  Gemm();
  ~Gemm();
  Gemm(const Gemm&) = delete;
  Gemm& operator=(const Gemm&) = delete;

  // out [rows, out_cols] = [out +] in [rows, in_cols] weights [out_cols, in_cols]^T [+ bias [out_cols]] [then ReLU];
  // out is float32 with float_out, else in the dtype. Products that use the
  // workspace must follow one another.
  void run(const GemmShape& shape, const std::byte* in, const std::byte* weights, const std::byte* bias, std::byte* out,
           cudaStream_t stream);
  // Whether such a product uses the workspace.
  bool uses_workspace(const GemmShape& shape);

 private:
  struct Planned;
  Planned& planned(const GemmShape& shape);

  cublasLtHandle_t handle_ = nullptr;
  DeviceBuffer workspace_;
  std::map<GemmShape, Planned> planned_;
};

}  // namespace zo2::cuda

#include "runtime/cuda/gemm.h"

#include <algorithm>

namespace zo2::cuda {
namespace {

#define ZO2_CUBLAS_CHECK(call)                                                                                     \
  do {                                                                                                             \
    const cublasStatus_t zo2_status = (call);                                                                      \
    ZO2_CHECK(zo2_status == CUBLAS_STATUS_SUCCESS, DeviceError, "{}:{}: {} failed: {}", __FILE__, __LINE__, #call, \
              cublasLtGetStatusName(zo2_status));                                                                  \
  } while (false)

cudaDataType_t data_type(DType dtype) {
  return dtype == DType::f32 ? CUDA_R_32F : dtype == DType::f16 ? CUDA_R_16F : CUDA_R_16BF;
}

// Program buffers start at multiples of 256 bytes.
uint32_t alignment_of(int64_t offset_bytes) {
  uint32_t alignment = 256;
  while (offset_bytes % alignment != 0) alignment /= 2;
  return alignment;
}

}  // namespace

struct Gemm::Planned {
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t weights = nullptr;
  cublasLtMatrixLayout_t in = nullptr;
  cublasLtMatrixLayout_t out = nullptr;
  cublasLtMatmulAlgo_t algorithm{};
  size_t workspace_bytes = 0;

  Planned() = default;
  Planned(const Planned&) = delete;
  Planned& operator=(const Planned&) = delete;
  ~Planned() {
    if (operation != nullptr) cublasLtMatmulDescDestroy(operation);
    for (cublasLtMatrixLayout_t layout : {weights, in, out}) {
      if (layout != nullptr) cublasLtMatrixLayoutDestroy(layout);
    }
  }
};

Gemm::Gemm() : workspace_(kGemmWorkspaceBytes, "the workspace of cuBLAS") {
  ZO2_CUBLAS_CHECK(cublasLtCreate(&handle_));
}

Gemm::~Gemm() {
  planned_.clear();
  if (handle_ != nullptr) cublasLtDestroy(handle_);
}

// cuBLAS counts columns first: out^T [out_cols, rows] = weights^T' [out_cols, in_cols] in^T [in_cols, rows].
Gemm::Planned& Gemm::planned(const GemmShape& shape) {
  if (const auto found = planned_.find(shape); found != planned_.end()) return found->second;
  Planned& plan = planned_[shape];
  const cudaDataType_t type = data_type(shape.dtype);
  const cudaDataType_t out_type = shape.float_out ? CUDA_R_32F : type;
  ZO2_CUBLAS_CHECK(cublasLtMatmulDescCreate(&plan.operation, CUBLAS_COMPUTE_32F, CUDA_R_32F));
  const auto set = [&](cublasLtMatmulDescAttributes_t attribute, const auto& value) {
    ZO2_CUBLAS_CHECK(
        cublasLtMatmulDescSetAttribute(plan.operation, attribute, static_cast<const void*>(&value), sizeof(value)));
  };
  const cublasOperation_t transposed = CUBLAS_OP_T;
  set(CUBLASLT_MATMUL_DESC_TRANSA, transposed);
  const cublasLtEpilogue_t epilogue = shape.bias   ? shape.relu ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_BIAS
                                      : shape.relu ? CUBLASLT_EPILOGUE_RELU
                                                   : CUBLASLT_EPILOGUE_DEFAULT;
  set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
  if (shape.bias) {
    const void* somewhere = workspace_.data();  // run() sets the true one; heuristics want to see that there is one
    set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, somewhere);
    set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, type);
  }
  const auto layout = [&](cublasLtMatrixLayout_t& target, cudaDataType_t of, int64_t rows, int64_t cols, int64_t ld) {
    ZO2_CUBLAS_CHECK(
        cublasLtMatrixLayoutCreate(&target, of, static_cast<uint64_t>(rows), static_cast<uint64_t>(cols), ld));
  };
  layout(plan.weights, type, shape.in_cols, shape.out_cols, shape.in_cols);
  layout(plan.in, type, shape.in_cols, shape.rows, shape.in_cols);
  layout(plan.out, out_type, shape.out_cols, shape.rows, shape.stride);

  cublasLtMatmulPreference_t preference = nullptr;
  ZO2_CUBLAS_CHECK(cublasLtMatmulPreferenceCreate(&preference));
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    ZO2_CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof(value)));
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<size_t>(kGemmWorkspaceBytes));
  // Partial sums of a split product stay in float32.
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  const uint32_t out_alignment = alignment_of(shape.column * (shape.float_out ? 4 : dtype_bytes(shape.dtype)));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, out_alignment);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, out_alignment);
  cublasLtMatmulHeuristicResult_t result{};
  int found = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(handle_, plan.operation, plan.weights, plan.in, plan.out,
                                                               plan.out, preference, 1, &result, &found);
  cublasLtMatmulPreferenceDestroy(preference);
  ZO2_CUBLAS_CHECK(status);
  ZO2_CHECK(found == 1, DeviceError, "cuBLAS has no product for {} [{}, {}] x [{}, {}]^T", dtype_name(shape.dtype),
            shape.rows, shape.in_cols, shape.out_cols, shape.in_cols);
  plan.algorithm = result.algo;
  plan.workspace_bytes = result.workspaceSize;
  return plan;
}

bool Gemm::uses_workspace(const GemmShape& shape) { return planned(shape).workspace_bytes > 0; }

void Gemm::run(const GemmShape& shape, const std::byte* in, const std::byte* weights, const std::byte* bias,
               std::byte* out, cudaStream_t stream) {
  Planned& plan = planned(shape);
  if (shape.bias) {
    ZO2_CUBLAS_CHECK(cublasLtMatmulDescSetAttribute(plan.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                                                    static_cast<const void*>(&bias), sizeof(bias)));
  }
  const float one = 1.0f;
  const float beta = shape.accumulate ? 1.0f : 0.0f;
  ZO2_CUBLAS_CHECK(cublasLtMatmul(handle_, plan.operation, &one, weights, plan.weights, in, plan.in, &beta, out,
                                  plan.out, out, plan.out, &plan.algorithm, workspace_.data(),
                                  static_cast<size_t>(kGemmWorkspaceBytes), stream));
}

}  // namespace zo2::cuda

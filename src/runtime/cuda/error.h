// One check for every CUDA call: typed errors with the expression, file, line and what to do. Without base/error.h, so
// that .cu files can include it: nvcc does not take fmt.
#pragma once

#include <cuda_runtime_api.h>

namespace zo2::cuda {

// Throws OutOfMemoryError when the device or the driver is out of memory, else DeviceError. `what` is the expression.
[[noreturn]] void throw_error(cudaError_t code, const char* what, const char* file, int line);

}  // namespace zo2::cuda

#define ZO2_CUDA_CHECK(call)                                         \
  do {                                                               \
    const cudaError_t zo2_code = (call);                             \
    if (zo2_code != cudaSuccess) {                                   \
      ::zo2::cuda::throw_error(zo2_code, #call, __FILE__, __LINE__); \
    }                                                                \
  } while (false)

// LibTorch on the device: loading it, the stream that it runs on, and what its caching allocator holds.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace zo2::cuda {

// Loads LibTorch's CUDA library (a second or so, once in a process). Throws DeviceError with the loader's reason.
void load_libtorch_cuda();

// Makes the device's default stream the one that LibTorch's operations of this thread run on, and returns it.
cudaStream_t use_default_stream();

// Of the caching allocator, since reset_allocator_peaks().
struct AllocatorPeaks {
  int64_t reserved_bytes = 0;   // taken from the driver
  int64_t allocated_bytes = 0;  // handed to tensors
};
AllocatorPeaks allocator_peaks();

// Gives back what is cached, and counts peaks from what is left.
void reset_allocator_peaks();

}  // namespace zo2::cuda

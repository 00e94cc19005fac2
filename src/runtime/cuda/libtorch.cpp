#include "runtime/cuda/libtorch.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAStream.h>
#include <dlfcn.h>

#include <mutex>

#include "base/error.h"

namespace zo2::cuda {

namespace caching = c10::cuda::CUDACachingAllocator;

void load_libtorch_cuda() {
  static std::once_flag loaded;
  std::call_once(loaded, [] {
    ZO2_CHECK(::dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) != nullptr, DeviceError,
              "cannot load LibTorch's CUDA library: {}", ::dlerror());
    at::globalContext().lazyInitDevice(at::kCUDA);
    at::globalContext().setFloat32MatmulPrecision("highest");
  });
}

cudaStream_t use_default_stream() {
  const c10::cuda::CUDAStream stream = c10::cuda::getDefaultCUDAStream(0);
  c10::cuda::setCurrentCUDAStream(stream);
  return stream.stream();
}

AllocatorPeaks allocator_peaks() {
  const auto stats = caching::getDeviceStats(0);
  constexpr auto kAll = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  return {stats.reserved_bytes[kAll].peak, stats.allocated_bytes[kAll].peak};
}

void reset_allocator_peaks() {
  caching::emptyCache();
  caching::resetPeakStats(0);
}

}  // namespace zo2::cuda

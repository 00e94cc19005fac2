#include "runtime/cuda/resources.h"

#include <sys/resource.h>

#include <atomic>
#include <string>

#include "base/bytes.h"
#include "store/host_memory.h"

namespace zo2::cuda {
namespace {

std::atomic<int64_t> waits{0};

std::string memlock_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return "unlimited";
  return format_bytes(static_cast<int64_t>(limit.rlim_cur));
}

}  // namespace

void throw_error(cudaError_t code, const char* what, const char* file, int line) {
  cudaGetLastError();  // an error that is not sticky must not show up in the next call
  const std::string text =
      fmt::format("{}:{}: {} failed: {} ({})", file, line, what, cudaGetErrorString(code), cudaGetErrorName(code));
  if (code == cudaErrorMemoryAllocation) throw OutOfMemoryError(text);
  if (code == cudaErrorNoDevice || code == cudaErrorInsufficientDriver) {
    throw DeviceError(text +
                      ": is there an NVIDIA GPU, and a driver for CUDA 13 (580 or newer)? `zo2 doctor` tells; "
                      "--device cpu runs without");
  }
  throw DeviceError(text + ": the run stops here; its step log is whole, so that it can be resumed");
}

int64_t host_waits() { return waits.load(); }

Stream::Stream() { ZO2_CUDA_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)); }
Stream::~Stream() {
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
}

Event::Event(bool timing) {
  ZO2_CUDA_CHECK(cudaEventCreateWithFlags(&event_, cudaEventBlockingSync | (timing ? 0 : cudaEventDisableTiming)));
}
Event::~Event() {
  if (event_ != nullptr) cudaEventDestroy(event_);
}

void Event::synchronize() const {
  ++waits;
  ZO2_CUDA_CHECK(cudaEventSynchronize(event_));
}

float Event::ms_since(const Event& earlier) const {
  float ms = 0;
  ZO2_CUDA_CHECK(cudaEventElapsedTime(&ms, earlier.event_, event_));
  return ms;
}

DeviceBuffer::DeviceBuffer(int64_t bytes, std::string_view purpose) : size_(bytes) {
  if (bytes == 0) return;
  const cudaError_t code = cudaMalloc(reinterpret_cast<void**>(&data_), static_cast<size_t>(bytes));
  if (code != cudaErrorMemoryAllocation) {
    ZO2_CUDA_CHECK(code);
    return;
  }
  cudaGetLastError();
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  cudaMemGetInfo(&free_bytes, &total_bytes);
  throw OutOfMemoryError(fmt::format(
      "{} needs {} of device memory, and {} of {} are free: free some, or choose a smaller batch, sequence, tile or "
      "gpu_memory",
      purpose, format_bytes(bytes), format_bytes(static_cast<int64_t>(free_bytes)),
      format_bytes(static_cast<int64_t>(total_bytes))));
}

DeviceBuffer::~DeviceBuffer() {
  if (data_ != nullptr) cudaFree(data_);
}

PinnedBuffer::PinnedBuffer(int64_t bytes) : size_(bytes) {
  if (bytes == 0) return;
  ZO2_CUDA_CHECK(cudaHostAlloc(reinterpret_cast<void**>(&data_), static_cast<size_t>(bytes),
                               cudaHostAllocMapped | cudaHostAllocPortable));
}

PinnedBuffer::~PinnedBuffer() {
  if (data_ != nullptr) cudaFreeHost(data_);
}

HostRegistration::HostRegistration(std::byte* data, int64_t bytes, std::string_view what) : data_(data) {
  const cudaError_t code =
      cudaHostRegister(data, static_cast<size_t>(bytes), cudaHostRegisterMapped | cudaHostRegisterPortable);
  if (code == cudaSuccess) return;
  cudaGetLastError();
  data_ = nullptr;
  throw OutOfMemoryError(fmt::format(
      "cannot page-lock {} of host memory for {}: {} ({} of host memory available, RLIMIT_MEMLOCK is {}): "
      "use host: staged, which locks only a small ring, or raise the limit",
      format_bytes(bytes), what, cudaGetErrorString(code), format_bytes(available_host_bytes()), memlock_limit()));
}

HostRegistration::~HostRegistration() {
  if (data_ != nullptr) cudaHostUnregister(data_);
}

void synchronize_device() {
  ++waits;
  ZO2_CUDA_CHECK(cudaDeviceSynchronize());
}

}  // namespace zo2::cuda

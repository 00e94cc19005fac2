// Owners of CUDA objects. Destructors do not throw: after a device error everything is released as far as it goes.
//
// Every call that makes the host wait goes through here and is counted, so that a test can show that a step has none.
#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "runtime/cuda/error.h"

namespace zo2::cuda {

// Synchronising calls of this process so far: of events, streams and the device.
int64_t host_waits();

class Stream {
 public:
  Stream();
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  operator cudaStream_t() const { return stream_; }  // NOLINT(google-explicit-constructor): as the C type everywhere

 private:
  cudaStream_t stream_ = nullptr;
};

class Event {
 public:
  // A host that waits for it sleeps rather than spins.
  explicit Event(bool timing = false);
  ~Event();
  Event(Event&& other) noexcept : event_(std::exchange(other.event_, nullptr)) {}
  Event& operator=(Event&& other) noexcept {
    std::swap(event_, other.event_);
    return *this;
  }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void record(cudaStream_t stream) { ZO2_CUDA_CHECK(cudaEventRecord(event_, stream)); }
  // The stream's later work waits for the newest record; nothing when there is none.
  void wait_on(cudaStream_t stream) const { ZO2_CUDA_CHECK(cudaStreamWaitEvent(stream, event_, 0)); }
  void synchronize() const;
  float ms_since(const Event& earlier) const;  // both recorded with timing and finished

 private:
  cudaEvent_t event_ = nullptr;
};

// Device memory of exact size, filled with nothing.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  // `purpose` is for the error: "the device arena needs 1.2 GiB, and 800 MiB are free: ...".
  DeviceBuffer(int64_t bytes, std::string_view purpose);
  ~DeviceBuffer();
  DeviceBuffer(DeviceBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;

  std::byte* data() const { return data_; }
  int64_t size() const { return size_; }

 private:
  std::byte* data_ = nullptr;
  int64_t size_ = 0;
};

void synchronize_device();

// A copy of the values on the device, there when this returns: a copy from pageable memory may still be under way after
// cudaMemcpy, and streams of ours do not wait for the default one. Not for use within a step.
template <typename T>
DeviceBuffer to_device(const std::vector<T>& values, std::string_view purpose) {
  const size_t bytes = values.size() * sizeof(T);
  DeviceBuffer buffer(static_cast<int64_t>(std::max<size_t>(bytes, 1)), purpose);
  ZO2_CUDA_CHECK(cudaMemcpy(buffer.data(), static_cast<const void*>(values.data()), bytes, cudaMemcpyHostToDevice));
  synchronize_device();
  return buffer;
}

// Page-locked host memory that kernels reach at the same address. Small: large ones register a mapping instead.
class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  explicit PinnedBuffer(int64_t bytes);
  ~PinnedBuffer();
  PinnedBuffer(PinnedBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  PinnedBuffer& operator=(PinnedBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  PinnedBuffer(const PinnedBuffer&) = delete;
  PinnedBuffer& operator=(const PinnedBuffer&) = delete;

  template <typename T = std::byte>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }
  int64_t size() const { return size_; }

 private:
  std::byte* data_ = nullptr;
  int64_t size_ = 0;
};

// Page-locks memory that someone else owns and must keep until this goes.
class HostRegistration {
 public:
  HostRegistration(std::byte* data, int64_t bytes, std::string_view what);
  ~HostRegistration();
  HostRegistration(HostRegistration&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
  HostRegistration& operator=(HostRegistration&&) = delete;
  HostRegistration(const HostRegistration&) = delete;
  HostRegistration& operator=(const HostRegistration&) = delete;

 private:
  std::byte* data_ = nullptr;
};

}  // namespace zo2::cuda

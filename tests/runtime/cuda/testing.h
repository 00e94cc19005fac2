// Shared by the tests of the CUDA runtime: they skip where there is no device.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "base/convert.h"
#include "noise/noise.h"
#include "runtime/cuda/resources.h"
#include "runtime/device.h"

namespace zo2::testing {

class CudaTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = why_no_cuda(); !reason.empty()) GTEST_SKIP() << "skipped: " << reason;
  }
};

inline constexpr DType kAllDTypes[] = {DType::f32, DType::f16, DType::bf16};

// Values that the dtype holds exactly: `spread` times normals of our own noise.
inline std::vector<std::byte> random_elements(DType dtype, int64_t count, uint64_t seed, float spread) {
  std::vector<float> values(static_cast<size_t>(count));
  fill_noise(Distribution::gaussian, {seed, Purpose::initial_weights, 0, 1, 0}, 0, values);
  for (float& value : values) value *= spread;
  std::vector<std::byte> bytes(static_cast<size_t>(count * dtype_bytes(dtype)));
  from_float(dtype, values, bytes.data());
  return bytes;
}

inline std::vector<float> floats_of(DType dtype, const std::vector<std::byte>& bytes) {
  std::vector<float> values(bytes.size() / static_cast<size_t>(dtype_bytes(dtype)));
  to_float(dtype, bytes.data(), values);
  return values;
}

// Attention of both devices, whose rounding to the dtype is what differs. Values are a few units large.
inline void expect_same_attention(DType dtype, const std::vector<std::byte>& got,
                                  const std::vector<std::byte>& expected) {
  const std::vector<float> a = floats_of(dtype, got);
  const std::vector<float> b = floats_of(dtype, expected);
  const double tolerance = dtype == DType::f32 ? 1e-5 : dtype == DType::f16 ? 4e-3 : 3e-2;
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], tolerance) << i;
}

// Bytes on the device, at a place `offset` bytes past an aligned one.
class OnDevice {
 public:
  explicit OnDevice(const std::vector<std::byte>& bytes, int64_t offset = 0)
      : buffer_(static_cast<int64_t>(bytes.size()) + offset, "a test"), offset_(offset), bytes_(bytes.size()) {
    ZO2_CUDA_CHECK(cudaMemcpy(data(), bytes.data(), bytes.size(), cudaMemcpyHostToDevice));
  }
  // Filled with 0xa5: a byte that nobody wrote shows.
  explicit OnDevice(size_t bytes, int64_t offset = 0)
      : OnDevice(std::vector<std::byte>(bytes, std::byte{0xa5}), offset) {}

  std::byte* data() const { return buffer_.data() + offset_; }
  std::vector<std::byte> read() const {
    std::vector<std::byte> bytes(bytes_);
    ZO2_CUDA_CHECK(cudaMemcpy(bytes.data(), data(), bytes_, cudaMemcpyDeviceToHost));
    return bytes;
  }
  template <typename T>
  std::vector<T> read_as() const {
    const std::vector<std::byte> bytes = read();
    std::vector<T> values(bytes.size() / sizeof(T));
    std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }

 private:
  cuda::DeviceBuffer buffer_;
  int64_t offset_;
  size_t bytes_;
};

template <typename T>
std::vector<std::byte> bytes_of(const std::vector<T>& values) {
  std::vector<std::byte> bytes(values.size() * sizeof(T));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

}  // namespace zo2::testing

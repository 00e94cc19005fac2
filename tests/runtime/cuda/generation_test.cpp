// The device's kernels for generating, against the CPU's.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

#include "runtime/cpu/kernels.h"
#include "runtime/cuda/layers.h"
#include "runtime/cuda/testing.h"

namespace zo2 {
namespace {

using namespace zo2::testing;

using CudaGeneration = CudaTest;

TEST_F(CudaGeneration, KeepsRowsAtTheirPositionsAndNothingElse) {
  constexpr int64_t kBatch = 3;
  constexpr int64_t kCapacity = 11;
  for (int64_t row_bytes : {32, 6}) {
    for (const auto& [seq, positions] : {std::pair<int64_t, std::vector<int32_t>>{5, {}}, {1, {0, 10, 4}}}) {
      SCOPED_TRACE(fmt::format("rows of {} bytes, {} a sequence", row_bytes, seq));
      const auto in = random_elements(DType::f16, kBatch * seq * row_bytes / 2, 1, 1.0f);
      const OnDevice device_in(in);
      const OnDevice device_positions(bytes_of(positions));
      const OnDevice cache(static_cast<size_t>(kBatch * kCapacity * row_bytes));
      std::vector<std::byte> expected = cache.read();
      for (int64_t i = 0; i < kBatch; ++i) {
        const int64_t first = positions.empty() ? 0 : positions[static_cast<size_t>(i)];
        std::memcpy(expected.data() + (i * kCapacity + first) * row_bytes, in.data() + i * seq * row_bytes,
                    static_cast<size_t>(seq * row_bytes));
      }
      cuda::keep_rows(device_in.data(),
                      positions.empty() ? nullptr : reinterpret_cast<const int32_t*>(device_positions.data()),
                      cache.data(), kBatch, seq, kCapacity, row_bytes, nullptr);
      cuda::synchronize_device();
      EXPECT_EQ(cache.read(), expected);
    }
  }
}

TEST_F(CudaGeneration, AttentionOverTheCacheAgreesWithTheCpu) {
  for (DType dtype : kAllDTypes) {
    for (const auto& [heads, head_dim, capacity] :
         {std::array<int64_t, 3>{2, 16, 12}, {12, 64, 700}, {4, 80, 99}, {1, 300, 13000}}) {
      SCOPED_TRACE(fmt::format("{} {}x{} of {}", dtype_name(dtype), heads, head_dim, capacity));
      const int64_t width = heads * head_dim;
      const std::vector<int32_t> positions{0, static_cast<int32_t>(capacity) - 1, 7};
      const auto batch = static_cast<int64_t>(positions.size());
      const auto q = random_elements(dtype, batch * width, 1, 1.0f);
      const auto keys = random_elements(dtype, batch * capacity * width, 2, 1.0f);
      const auto values = random_elements(dtype, batch * capacity * width, 3, 1.0f);
      const OnDevice device_q(q);
      const OnDevice device_keys(keys);
      const OnDevice device_values(values);
      const OnDevice device_positions(bytes_of(positions));
      const OnDevice out(q.size());
      cuda::cached_attention(
          dtype,
          {device_q.data(), device_keys.data(), device_values.data(),
           reinterpret_cast<const int32_t*>(device_positions.data()), out.data(), batch, heads, head_dim, capacity},
          nullptr);
      std::vector<std::byte> expected(q.size());
      for (int64_t sequence = 0; sequence < batch; ++sequence) {
        for (int64_t head = 0; head < heads; ++head) {
          const int64_t at = (sequence * width + head * head_dim) * dtype_bytes(dtype);
          const int64_t cached = (sequence * capacity * width + head * head_dim) * dtype_bytes(dtype);
          cpu::attend(dtype, q.data() + at, keys.data() + cached, values.data() + cached, expected.data() + at,
                      head_dim, width, positions[static_cast<size_t>(sequence)] + 1);
        }
      }
      testing::expect_same_attention(dtype, out.read(), expected);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_F(CudaGeneration, TheArgMaxIsTheCpus) {
  constexpr int64_t kRows = 6;
  constexpr int64_t kVocab = 3000;
  std::vector<float> logits = floats_of(DType::f16, random_elements(DType::f16, kRows * kVocab, 1, 8.0f));
  const float infinity = std::numeric_limits<float>::infinity();
  const auto row = [&](int64_t i) { return logits.data() + i * kVocab; };
  row(1)[700] = row(1)[1999] = row(1)[2000] = infinity;
  std::fill_n(row(2), kVocab, -infinity);
  std::fill_n(row(3), kVocab, 1.5f);
  row(4)[2500] = row(4)[1100] = std::numeric_limits<float>::quiet_NaN();
  for (int64_t tile : {kVocab, int64_t{1000}, int64_t{700}, int64_t{7}}) {
    SCOPED_TRACE(tile);
    const OnDevice state(kRows * 8);
    auto* index = reinterpret_cast<int32_t*>(state.data());
    auto* best = reinterpret_cast<float*>(state.data()) + kRows;
    std::vector<int32_t> expected(kRows);
    std::vector<float> expected_best(kRows);
    for (int64_t first = 0; first < kVocab; first += tile) {
      const int64_t count = std::min(tile, kVocab - first);
      std::vector<float> part;
      for (int64_t i = 0; i < kRows; ++i) part.insert(part.end(), row(i) + first, row(i) + first + count);
      const OnDevice device_part(bytes_of(part));
      cuda::update_arg_max(reinterpret_cast<const float*>(device_part.data()), first, count, first == 0, {index, best},
                           kRows, nullptr);
      cuda::synchronize_device();
      cpu::update_arg_max(part.data(), first, count, first == 0, {expected.data(), expected_best.data()}, 0, kRows);
    }
    const std::vector<int32_t> words = state.read_as<int32_t>();
    EXPECT_EQ(std::vector<int32_t>(words.begin(), words.begin() + kRows), expected);
  }
}

}  // namespace
}  // namespace zo2

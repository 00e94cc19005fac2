#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "base/convert.h"
#include "program/testing.h"
#include "runtime/cpu/visit.h"

namespace zo2 {
namespace {

using namespace zo2::testing;

constexpr DType kHalves[] = {DType::f16, DType::bf16};

float round_one(DType dtype, float value, uint32_t bits) {
  round_stochastically(dtype, std::span(&bits, 1), std::span(&value, 1));
  return value;
}

float decode(DType dtype, uint32_t bits) {
  const auto half = static_cast<uint16_t>(bits);
  return dtype == DType::f16 ? f16_to_float(half) : bf16_to_float(half);
}

// The largest value of the dtype not above a positive one, and the next one.
std::pair<float, float> neighbours(DType dtype, float value) {
  uint32_t low = 0;
  uint32_t high = dtype == DType::f16 ? 0x7c00 : 0x7f80;  // infinity; patterns of positive values are ordered
  while (high - low > 1) {
    const uint32_t middle = (low + high) / 2;
    (decode(dtype, middle) <= value ? low : high) = middle;
  }
  return {decode(dtype, low), decode(dtype, high)};
}

TEST(StochasticRounding, LeavesRepresentableValuesInfinitiesNaNAndFp32) {
  for (DType dtype : kHalves) {
    for (uint32_t pattern = 0; pattern < 0x10000; ++pattern) {
      const float value = decode(dtype, pattern);
      for (uint32_t bits : {0u, 0xffffffffu, 0x80000000u, pattern * 2654435761u}) {
        const float rounded = round_one(dtype, value, bits);
        if (std::isnan(value)) {
          EXPECT_TRUE(std::isnan(rounded));
        } else {
          ASSERT_EQ(std::bit_cast<uint32_t>(rounded), std::bit_cast<uint32_t>(value)) << pattern;
        }
      }
    }
  }
  // A NaN whose mantissa is all ones must not carry into the sign.
  for (DType dtype : kHalves) EXPECT_TRUE(std::isnan(round_one(dtype, std::bit_cast<float>(0x7fffffffu), 0xffffffffu)));
  EXPECT_EQ(round_one(DType::f32, 0x1.234567p0f, 0xffffffffu), 0x1.234567p0f);
}

TEST(StochasticRounding, TakesOneOfTheTwoNeighboursWithEqualBitsForBothSigns) {
  const uint64_t seed = random_seed();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  for (DType dtype : kHalves) {
    for (int i = 0; i < 50'000; ++i) {
      // Exponents from far below the least subnormal to above the largest value of fp16.
      const int exponent = std::uniform_int_distribution<int>(-32, 15)(random);
      const float value = std::ldexp(std::uniform_real_distribution<float>(1.0f, 2.0f)(random), exponent);
      const auto bits = static_cast<uint32_t>(random());
      const auto [low, high] = neighbours(dtype, value);
      const float rounded = round_one(dtype, value, bits);
      // Above 65,504 the neighbour is infinity, which 65,536 converts to.
      const bool overflows = std::isinf(high) && rounded == 65536.0f && dtype == DType::f16;
      ASSERT_TRUE(rounded == low || rounded == high || overflows) << value << " to " << rounded;
      ASSERT_EQ(round_one(dtype, -value, bits), -rounded) << value;
    }
  }
}

TEST(StochasticRounding, IsExactOverAllRandomBitsOfNormalNumbers) {
  // Of the 2^d random words that differ in the d dropped bits, as many round up as the dropped part counts.
  for (auto [dtype, dropped] : {std::pair{DType::f16, 13}, {DType::bf16, 16}}) {
    for (float value : {1.0f + 0x1p-20f, 0x1.abcdefp-5f, 0x1.fffffep3f, 0x1.000002p-14f, 0x1.7fffp0f}) {
      const uint32_t part = std::bit_cast<uint32_t>(value) & ((1u << dropped) - 1);
      const auto [low, high] = neighbours(dtype, value);
      uint32_t up = 0;
      for (uint32_t bits = 0; bits < 1u << dropped; ++bits) up += round_one(dtype, value, bits | 0xabu << 24) == high;
      EXPECT_EQ(up, part) << value;
    }
  }
}

TEST(StochasticRounding, ExpectationIsTheValueWithinFiveStandardErrors) {
  constexpr size_t kDraws = 1 << 18;
  std::vector<uint32_t> bits(kDraws);
  fill_bits({12345, Purpose::rounding, 0, 6, 7}, 0, bits);
  for (DType dtype : kHalves) {
    // The last three are below 2^-14: subnormal in fp16, the very last below its least positive value.
    for (float value : {0.7123f, -3.14159f, 1.0001f, 1234.567f, 5.5e-5f, -1.2345e-6f, 3.3e-8f}) {
      std::vector<float> rounded(kDraws, value);
      round_stochastically(dtype, bits, rounded);
      double sum = 0;
      for (float r : rounded) sum += static_cast<double>(r);
      const auto [low, high] = neighbours(dtype, std::fabs(value));
      const double step = static_cast<double>(high) - static_cast<double>(low);
      const double chance = (std::fabs(static_cast<double>(value)) - static_cast<double>(low)) / step;
      const double error = step * std::sqrt(chance * (1 - chance) / kDraws);
      EXPECT_NEAR(sum / kDraws, static_cast<double>(value), 5 * error) << dtype_name(dtype);
    }
  }
}

TEST(StochasticRounding, KeepsUpdatesThatRoundingToNearestLoses) {
  // 4,096 weights of 1, each moved 256 times by a sixteenth of an ulp: the mean moves by 16 ulps.
  constexpr int kWeights = 4096;
  constexpr int kSteps = 256;
  const float move = 0x1p-10f / 16;
  std::vector<float> stochastic(kWeights, 1.0f);
  std::vector<float> nearest = stochastic;
  std::vector<uint32_t> bits(kWeights);
  for (uint32_t step = 0; step < kSteps; ++step) {
    fill_bits({99, Purpose::rounding, 0, 1, step}, 0, bits);
    for (float& w : stochastic) w += move;
    round_stochastically(DType::f16, bits, stochastic);
    for (float& w : nearest) w = round_to(DType::f16, w + move);
  }
  double mean = 0;
  for (float w : stochastic) mean += static_cast<double>(w) / kWeights;
  // Each step adds a Bernoulli(1/16) ulp.
  const double error = 0x1p-10 * std::sqrt(kSteps * (1.0 / 16) * (15.0 / 16) / kWeights);
  EXPECT_NEAR(mean, 1 + 16 * 0x1p-10, 5 * error);
  EXPECT_EQ(nearest[0], 1.0f);
}

}  // namespace
}  // namespace zo2

#include "base/convert.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace zo2 {
namespace {

uint64_t random_seed() { return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count()); }

bool same_bits(float a, float b) { return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b); }

// The value of a finite fp16 by its definition, without bit tricks.
double f16_by_definition(uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const int mantissa = bits & 1023;
  const double magnitude = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

TEST(Convert, EveryF16HasTheValueOfItsDefinitionAndComesBack) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float value = f16_to_float(half);
    if ((bits & 0x7c00) == 0x7c00) {
      EXPECT_EQ(std::isnan(value), (bits & 0x3ff) != 0);
      EXPECT_EQ(float_to_f16(value), (bits & 0x3ff) != 0 ? (half | 0x200) : half);
      continue;
    }
    ASSERT_EQ(static_cast<double>(value), f16_by_definition(half)) << bits;
    ASSERT_EQ(std::signbit(value), (bits & 0x8000) != 0);
    ASSERT_EQ(float_to_f16(value), half);
  }
}

TEST(Convert, EveryBf16ComesBackAndNaNStaysNaN) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float value = bf16_to_float(half);
    if (std::isnan(value)) {
      ASSERT_TRUE(std::isnan(bf16_to_float(float_to_bf16(value)))) << bits;
    } else {
      ASSERT_EQ(float_to_bf16(value), half);
    }
  }
  // A NaN whose payload lies only in the bits that are cut off.
  EXPECT_TRUE(std::isnan(bf16_to_float(float_to_bf16(std::bit_cast<float>(0x7f800001u)))));
  EXPECT_TRUE(std::isnan(bf16_to_float(float_to_bf16(std::bit_cast<float>(0xffffffffu)))));
}

// Between neighbours a < b of the format: below the middle gives a, above gives b, the middle the even one.
void expect_nearest_even(DType dtype, uint16_t low, float a, float b) {
  const float middle = static_cast<float>((static_cast<double>(a) + b) / 2);
  ASSERT_EQ(round_to(dtype, std::nextafter(middle, a)), a) << low;
  ASSERT_EQ(round_to(dtype, std::nextafter(middle, b)), b) << low;
  ASSERT_EQ(round_to(dtype, middle), (low & 1) == 0 ? a : b) << low;
  ASSERT_EQ(round_to(dtype, -middle), (low & 1) == 0 ? -a : -b) << low;
}

TEST(Convert, RoundsToNearestEvenBetweenAllNeighbours) {
  for (uint16_t low = 0; low < 0x7bff; ++low) {
    expect_nearest_even(DType::f16, low, f16_to_float(low), f16_to_float(static_cast<uint16_t>(low + 1)));
  }
  for (uint16_t low = 0x80; low < 0x7f7f; ++low) {
    expect_nearest_even(DType::bf16, low, bf16_to_float(low), bf16_to_float(static_cast<uint16_t>(low + 1)));
  }
}

TEST(Convert, OverflowsToInfinity) {
  EXPECT_EQ(round_to(DType::f16, 65519.996F), 65504.0F);
  EXPECT_EQ(round_to(DType::f16, 65520.0F), std::numeric_limits<float>::infinity());
  EXPECT_EQ(round_to(DType::f16, -1e30F), -std::numeric_limits<float>::infinity());
  EXPECT_EQ(round_to(DType::bf16, std::numeric_limits<float>::max()), std::numeric_limits<float>::infinity());
}

TEST(Convert, LoopsEqualScalarsAtEveryLengthAndAlignment) {
  const uint64_t seed = random_seed();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  for (DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    const auto width = static_cast<size_t>(dtype_bytes(dtype));
    for (size_t count = 0; count < 70; ++count) {
      std::vector<float> values(count);
      // Any bits at all: NaN, infinities and subnormals are among them.
      for (float& value : values) {
        const auto bits = static_cast<uint32_t>(random());
        value = std::bit_cast<float>(random() % 8 == 0 ? bits | 0x7f800000u : bits);
      }
      std::vector<std::byte> stored(count * width + 3);
      from_float(dtype, values, stored.data() + 1);
      std::vector<float> back(count);
      to_float(dtype, stored.data() + 1, back);
      for (size_t i = 0; i < count; ++i) {
        ASSERT_TRUE(same_bits(back[i], round_to(dtype, values[i])))
            << dtype_name(dtype) << " element " << i << " of " << count << ", value bits "
            << std::bit_cast<uint32_t>(values[i]);
      }
      ASSERT_EQ(stored.front(), std::byte{0});
      ASSERT_EQ(stored.back(), std::byte{0});
    }
  }
}

TEST(Convert, FindsTheFirstNonFiniteElement) {
  for (DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    std::vector<float> values(10000, -3.5F);
    std::vector<std::byte> stored(values.size() * 4);
    const auto first = [&] {
      from_float(dtype, values, stored.data());
      return first_non_finite(dtype, stored.data(), static_cast<int64_t>(values.size()));
    };
    EXPECT_EQ(first(), -1);
    values[9999] = std::numeric_limits<float>::infinity();
    EXPECT_EQ(first(), 9999);
    values[4096] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_EQ(first(), 4096);
    values[0] = -std::numeric_limits<float>::infinity();
    EXPECT_EQ(first(), 0);
  }
}

}  // namespace
}  // namespace zo2

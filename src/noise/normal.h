// From random words to normals (Box-Muller) and signs, by exactly rounded operations only: no libm, so the bits are the
// same on every compiler, instruction set and device. For g++, clang++ and nvcc; kernels_*.cpp hold the same arithmetic
// on vectors and must be changed together with this file, and kNoiseVersion with both.
//
// radius: sqrt(-2 ln u), u = (bits 30..0 of word a, with bit 0 set) / 2^31: the midpoints of 2^30 equal bins, rounded
// to float. So u is never 0, and the largest radius is sqrt(62 ln 2) = 6.555.
//
// angle: f = int32(word b) / 2^32 in [-0.5, 0.5) is a place on the quarter circle around the first axis, and bits 31
// and 0 of word a, which u does not use, say which quarter: bit 31 mirrors it to the other side, bit 0 swaps the axes.
// Every bit is used once, and the four images of the quarter circle make up the circle.
//
// Against float64 with the same u and f the relative error of a value is below 5e-7 (tests/noise/accuracy_test.cpp).
#pragma once

#include "noise/host_device.h"

namespace zo2 {

// Minimax polynomials in relative error, found by Lawson's iteration, coefficients rounded to float one after another.
namespace normal_constants {
inline constexpr uint32_t kSqrtHalfBits = 0x3F3504F3;  // float just below sqrt(1/2)
inline constexpr float kTwoPowMinus31 = 0x1p-31F;
inline constexpr float kTwoPowMinus32 = 0x1p-32F;
inline constexpr float kExponentScale = -0x1.62e430p-23F;  // -2 ln 2, per unit of 2^23: the exponent stays in its place

// -2 ln(1 + x) / x on [sqrt(1/2) - 1, sqrt(2) - 1], error 1.7e-7 (half of that in the radius).
inline constexpr float kLog0 = -0x1.fffffep+0F;
inline constexpr float kLog1 = 0x1.000078p+0F;
inline constexpr float kLog2 = -0x1.5559e6p-1F;
inline constexpr float kLog3 = 0x1.ff63acp-2F;
inline constexpr float kLog4 = -0x1.978df4p-2F;
inline constexpr float kLog5 = 0x1.613e2ep-2F;
inline constexpr float kLog6 = -0x1.4c3736p-2F;
inline constexpr float kLog7 = 0x1.9e3330p-3F;

// sin(pi/2 f) / f in f^2 on [0, 1/4], error 2.8e-8.
inline constexpr float kSin0 = 0x1.921fb6p+0F;
inline constexpr float kSin1 = -0x1.4abc24p-1F;
inline constexpr float kSin2 = 0x1.4680a4p-4F;
inline constexpr float kSin3 = -0x1.331990p-8F;

// cos(pi/2 f) in f^2 on [0, 1/4], error 6.1e-8.
inline constexpr float kCos0 = 0x1.fffffep-1F;
inline constexpr float kCos1 = -0x1.3bd366p+0F;
inline constexpr float kCos2 = 0x1.03a78cp-2F;
inline constexpr float kCos3 = -0x1.4cfc44p-6F;
}  // namespace normal_constants

struct NormalPair {
  float first, second;
};

ZO2_HOST_DEVICE NormalPair normal_pair(uint32_t word_a, uint32_t word_b) {
  using namespace normal_constants;
  using exact::fused;
  using exact::product;

  // u * 2^31 = m * 2^e with m in [sqrt(1/2), sqrt(2)); `exponent` is (e - 31) * 2^23, at most 0.
  const uint32_t u_bits = exact::bits_of(exact::from_int(static_cast<int32_t>((word_a & 0x7FFFFFFF) | 1)));
  const uint32_t exponent = (u_bits - (kSqrtHalfBits + (31u << 23))) & 0xFF800000;
  const float x = fused(exact::from_bits(u_bits - exponent), kTwoPowMinus31, -1.0F);  // m - 1, exactly
  float log_ratio = fused(kLog7, x, kLog6);
  log_ratio = fused(log_ratio, x, kLog5);
  log_ratio = fused(log_ratio, x, kLog4);
  log_ratio = fused(log_ratio, x, kLog3);
  log_ratio = fused(log_ratio, x, kLog2);
  log_ratio = fused(log_ratio, x, kLog1);
  log_ratio = fused(log_ratio, x, kLog0);
  const float exponent_part = product(exact::from_int(static_cast<int32_t>(exponent)), kExponentScale);
  const float radius = exact::square_root(fused(log_ratio, x, exponent_part));

  const float f = product(exact::from_int(static_cast<int32_t>(word_b)), kTwoPowMinus32);
  const float f2 = product(f, f);
  const float sine = product(f, fused(fused(fused(kSin3, f2, kSin2), f2, kSin1), f2, kSin0));
  const float cosine = fused(fused(fused(kCos3, f2, kCos2), f2, kCos1), f2, kCos0);
  const float along = product(radius, exact::from_bits(exact::bits_of(cosine) ^ (word_a & 0x80000000)));
  const float across = product(radius, sine);
  return (word_a & 1) != 0 ? NormalPair{across, along} : NormalPair{along, across};
}

// Bit `bit` (0 to 31) of the word: 0 gives +1, 1 gives -1.
ZO2_HOST_DEVICE float rademacher_value(uint32_t word, uint32_t bit) {
  return exact::from_bits((word << (31 - bit) & 0x80000000) | 0x3F800000);
}

}  // namespace zo2

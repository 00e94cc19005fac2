// Conversions between float and the 16-bit formats: IEEE binary16 (fp16) and bfloat16, round to nearest, ties to even.
//
// Values too large for the format become infinities, NaN stays NaN (made quiet), subnormals are exact. The scalar
// functions are plain integer arithmetic; the loops use F16C and AVX2 where compiled in and give the same bits.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/dtype.h"

namespace zo2 {

inline float bf16_to_float(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

inline uint16_t float_to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x0040u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

inline float f16_to_float(uint16_t bits) {
  const uint32_t sign = (bits & 0x8000u) << 16;
  const uint32_t exponent = (bits >> 10) & 0x1fu;
  const uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 0x1f) {
    return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13) | (mantissa != 0 ? 0x400000u : 0u));
  }
  // A subnormal is mantissa * 2^-24, exact in float.
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
  }
  return std::bit_cast<float>(sign | ((exponent + 112u) << 23) | (mantissa << 13));
}

inline uint16_t float_to_f16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x1ffu));
  if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);  // 65520 and above round to infinity
  if (magnitude >= 0x38800000u) {                                              // normal in fp16: at least 2^-14
    const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
    return static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
  }
  if (magnitude < 0x33000000u) return sign;         // below 2^-25 rounds to zero
  const uint32_t shift = 126u - (magnitude >> 23);  // 14 to 24; what is left counts units of 2^-24
  const uint32_t mantissa = (magnitude & 0x7fffffu) | 0x800000u;
  const uint32_t kept = mantissa >> shift;
  const uint32_t rest = mantissa & ((1u << shift) - 1u);
  const uint32_t half = 1u << (shift - 1u);
  return static_cast<uint16_t>(sign | (kept + (rest > half || (rest == half && (kept & 1u)) ? 1u : 0u)));
}

// in: out.size() elements of `dtype`, of any alignment.
void to_float(DType dtype, const std::byte* in, std::span<float> out);

// out: room for in.size() elements of `dtype`, of any alignment; may be the memory of `in` only for fp32.
void from_float(DType dtype, std::span<const float> in, std::byte* out);

// The value after a round trip through `dtype`.
inline float round_to(DType dtype, float value) {
  switch (dtype) {
    case DType::f16: return f16_to_float(float_to_f16(value));
    case DType::bf16: return bf16_to_float(float_to_bf16(value));
    default: return value;
  }
}

// The index of the first infinity or NaN among `count` elements of `dtype`, or -1. Any alignment.
int64_t first_non_finite(DType dtype, const std::byte* data, int64_t count);

}  // namespace zo2

#include "base/convert.h"

#include <algorithm>
#include <cstring>

#ifdef __AVX2__
#include <immintrin.h>
#endif

namespace zo2 {
namespace {

uint16_t load_half(const std::byte* data) {
  uint16_t bits = 0;
  std::memcpy(&bits, data, sizeof bits);
  return bits;
}

void store_half(uint16_t bits, std::byte* data) { std::memcpy(data, &bits, sizeof bits); }

// Each returns how many elements it did; the scalar loop does the rest.
#if defined(__AVX2__) && defined(__F16C__)
size_t f16_to_float_by_8(const std::byte* in, std::span<float> out) {
  size_t i = 0;
  for (; i + 8 <= out.size(); i += 8) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + 2 * i));
    _mm256_storeu_ps(out.data() + i, _mm256_cvtph_ps(bits));
  }
  return i;
}

size_t float_to_f16_by_8(std::span<const float> in, std::byte* out) {
  size_t i = 0;
  for (; i + 8 <= in.size(); i += 8) {
    const __m128i bits = _mm256_cvtps_ph(_mm256_loadu_ps(in.data() + i), _MM_FROUND_TO_NEAREST_INT);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 2 * i), bits);
  }
  return i;
}

size_t bf16_to_float_by_8(const std::byte* in, std::span<float> out) {
  size_t i = 0;
  for (; i + 8 <= out.size(); i += 8) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + 2 * i));
    const __m256i wide = _mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16);
    _mm256_storeu_ps(out.data() + i, _mm256_castsi256_ps(wide));
  }
  return i;
}

// bf16 of eight floats, each in the low half of a 32-bit lane; as float_to_bf16.
__m256i bf16_lanes(__m256 value) {
  const __m256i bits = _mm256_castps_si256(value);
  const __m256i high = _mm256_srli_epi32(bits, 16);
  const __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
  const __m256i rounded =
      _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(_mm256_set1_epi32(0x7fff), odd)), 16);
  const __m256i quiet = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(value, value, _CMP_UNORD_Q));
  return _mm256_blendv_epi8(rounded, quiet, nan);
}

size_t float_to_bf16_by_16(std::span<const float> in, std::byte* out) {
  size_t i = 0;
  for (; i + 16 <= in.size(); i += 16) {
    const __m256i low = bf16_lanes(_mm256_loadu_ps(in.data() + i));
    const __m256i high = bf16_lanes(_mm256_loadu_ps(in.data() + i + 8));
    // packus works within 128-bit halves; the permutation puts the four quarters in order.
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, high), 0b11011000);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 2 * i), packed);
  }
  return i;
}
#else
size_t f16_to_float_by_8(const std::byte*, std::span<float>) { return 0; }
size_t float_to_f16_by_8(std::span<const float>, std::byte*) { return 0; }
size_t bf16_to_float_by_8(const std::byte*, std::span<float>) { return 0; }
size_t float_to_bf16_by_16(std::span<const float>, std::byte*) { return 0; }
#endif

template <typename Word>
bool any_all_ones_exponent(const std::byte* data, int64_t count, Word mask) {
  // No early exit, so that the compiler vectorises it.
  Word found = 0;
  for (int64_t i = 0; i < count; ++i) {
    Word bits = 0;
    std::memcpy(&bits, data + i * static_cast<int64_t>(sizeof(Word)), sizeof bits);
    found = static_cast<Word>(found | ((bits & mask) == mask ? 1 : 0));
  }
  return found != 0;
}

template <typename Word>
int64_t first_all_ones_exponent(const std::byte* data, int64_t count, Word mask) {
  constexpr int64_t kBlock = 4096;
  constexpr auto kWidth = static_cast<int64_t>(sizeof(Word));
  for (int64_t start = 0; start < count; start += kBlock) {
    const int64_t length = std::min(kBlock, count - start);
    if (!any_all_ones_exponent<Word>(data + start * kWidth, length, mask)) continue;
    for (int64_t i = start;; ++i) {
      if (any_all_ones_exponent<Word>(data + i * kWidth, 1, mask)) return i;
    }
  }
  return -1;
}

}  // namespace

void to_float(DType dtype, const std::byte* in, std::span<float> out) {
  switch (dtype) {
    case DType::f32:
      if (!out.empty()) std::memcpy(out.data(), in, out.size_bytes());
      return;
    case DType::f16:
      for (size_t i = f16_to_float_by_8(in, out); i < out.size(); ++i) out[i] = f16_to_float(load_half(in + 2 * i));
      return;
    case DType::bf16:
      for (size_t i = bf16_to_float_by_8(in, out); i < out.size(); ++i) out[i] = bf16_to_float(load_half(in + 2 * i));
      return;
  }
}

void from_float(DType dtype, std::span<const float> in, std::byte* out) {
  switch (dtype) {
    case DType::f32:
      if (!in.empty()) std::memmove(out, in.data(), in.size_bytes());
      return;
    case DType::f16:
      for (size_t i = float_to_f16_by_8(in, out); i < in.size(); ++i) store_half(float_to_f16(in[i]), out + 2 * i);
      return;
    case DType::bf16:
      for (size_t i = float_to_bf16_by_16(in, out); i < in.size(); ++i) store_half(float_to_bf16(in[i]), out + 2 * i);
      return;
  }
}

int64_t first_non_finite(DType dtype, const std::byte* data, int64_t count) {
  switch (dtype) {
    case DType::f32: return first_all_ones_exponent<uint32_t>(data, count, 0x7f800000u);
    case DType::f16: return first_all_ones_exponent<uint16_t>(data, count, 0x7c00u);
    case DType::bf16: return first_all_ones_exponent<uint16_t>(data, count, 0x7f80u);
  }
  return -1;
}

}  // namespace zo2

// AVX2 and FMA. Laid out as kernels_avx512.cpp is (read its head), four blocks a vector in the lane order 0 2 1 3.
#ifdef __x86_64__

#include <immintrin.h>

#include "noise/kernels.h"
#include "noise/normal.h"

namespace zo2 {
namespace {

#define ZO2_AVX2 __attribute__((target("avx2,fma")))
#define ZO2_AVX2_INLINE ZO2_AVX2 __attribute__((always_inline)) inline

constexpr int64_t kVectorBlocks = 4;
constexpr int64_t kVectorWords = 4 * kVectorBlocks;
static_assert(kGroupBlocks % kVectorBlocks == 0);
constexpr int kOddLanes = 0xAA;

// Words of four blocks: a = (w0, w2) and b = (w1, w3) of one block in each 64-bit lane.
struct WordPairs {
  __m256i a, b;
};

ZO2_AVX2_INLINE __m256i high_halves(__m256i x) {
  return _mm256_castps_si256(_mm256_movehdup_ps(_mm256_castsi256_ps(x)));
}

// Even lanes of x, and the even lanes of y in the odd ones.
ZO2_AVX2_INLINE __m256i pack_low_halves(__m256i x, __m256i y) {
  return _mm256_blend_epi32(x, _mm256_slli_epi64(y, 32), kOddLanes);
}

ZO2_AVX2_INLINE WordPairs philox(__m256i w0, const Philox4& counter, const RoundKeys& keys) {
  const __m256i m0 = _mm256_set1_epi64x(kPhiloxM0);
  const __m256i m1 = _mm256_set1_epi64x(kPhiloxM1);
  __m256i w1 = _mm256_set1_epi64x(counter.w1);
  __m256i w2 = _mm256_set1_epi64x(counter.w2);
  __m256i w3 = _mm256_set1_epi64x(counter.w3);
#pragma GCC unroll 10
  for (int round = 0; round < kPhiloxRounds - 1; ++round) {
    const __m256i product0 = _mm256_mul_epu32(w0, m0);
    const __m256i product1 = _mm256_mul_epu32(w2, m1);
    const __m256i key0 = _mm256_set1_epi64x(static_cast<int64_t>(keys.low[round]));
    const __m256i key1 = _mm256_set1_epi64x(static_cast<int64_t>(keys.high[round]));
    w0 = _mm256_xor_si256(high_halves(product1), _mm256_xor_si256(w1, key0));
    w2 = _mm256_xor_si256(high_halves(product0), _mm256_xor_si256(w3, key1));
    w1 = product1;
    w3 = product0;
  }
  // The last round packs as it goes: first of each pair below, second above.
  const __m256i product0 = _mm256_mul_epu32(w0, m0);
  const __m256i product1 = _mm256_mul_epu32(w2, m1);
  const __m256i high = _mm256_blend_epi32(high_halves(product1), product0, kOddLanes);
  const __m256i key = _mm256_set1_epi64x(static_cast<int64_t>(keys.last));
  return {_mm256_xor_si256(high, _mm256_xor_si256(pack_low_halves(w1, w3), key)), pack_low_halves(product1, product0)};
}

ZO2_AVX2_INLINE __m256i first_counters(const PhiloxRange& range) {
  return _mm256_add_epi64(_mm256_set1_epi64x(range.first.w0), _mm256_setr_epi64x(0, 2, 1, 3));
}

ZO2_AVX2_INLINE void store_interleaved(__m256 first, __m256 second, void* out) {
  float* const to = static_cast<float*>(out);
  _mm256_storeu_ps(to, _mm256_unpacklo_ps(first, second));
  _mm256_storeu_ps(to + 8, _mm256_unpackhi_ps(first, second));
}

// normal_pair of normal.h, eight at a time.
ZO2_AVX2_INLINE void normals_of(WordPairs words, float* out) {
  using namespace normal_constants;
  const __m256i one = _mm256_set1_epi32(1);
  const __m256i u31 = _mm256_or_si256(_mm256_and_si256(words.a, _mm256_set1_epi32(0x7FFFFFFF)), one);
  const __m256i u_bits = _mm256_castps_si256(_mm256_cvtepi32_ps(u31));
  const __m256i exponent =
      _mm256_and_si256(_mm256_sub_epi32(u_bits, _mm256_set1_epi32(static_cast<int>(kSqrtHalfBits + (31u << 23)))),
                       _mm256_set1_epi32(static_cast<int>(0xFF800000)));
  const __m256 x = _mm256_fmadd_ps(_mm256_castsi256_ps(_mm256_sub_epi32(u_bits, exponent)),
                                   _mm256_set1_ps(kTwoPowMinus31), _mm256_set1_ps(-1.0F));
  __m256 log_ratio = _mm256_fmadd_ps(_mm256_set1_ps(kLog7), x, _mm256_set1_ps(kLog6));
  log_ratio = _mm256_fmadd_ps(log_ratio, x, _mm256_set1_ps(kLog5));
  log_ratio = _mm256_fmadd_ps(log_ratio, x, _mm256_set1_ps(kLog4));
  log_ratio = _mm256_fmadd_ps(log_ratio, x, _mm256_set1_ps(kLog3));
  log_ratio = _mm256_fmadd_ps(log_ratio, x, _mm256_set1_ps(kLog2));
  log_ratio = _mm256_fmadd_ps(log_ratio, x, _mm256_set1_ps(kLog1));
  log_ratio = _mm256_fmadd_ps(log_ratio, x, _mm256_set1_ps(kLog0));
  const __m256 exponent_part = _mm256_mul_ps(_mm256_cvtepi32_ps(exponent), _mm256_set1_ps(kExponentScale));
  const __m256 radius = _mm256_sqrt_ps(_mm256_fmadd_ps(log_ratio, x, exponent_part));

  const __m256 f = _mm256_mul_ps(_mm256_cvtepi32_ps(words.b), _mm256_set1_ps(kTwoPowMinus32));
  const __m256 f2 = _mm256_mul_ps(f, f);
  __m256 sine = _mm256_fmadd_ps(_mm256_set1_ps(kSin3), f2, _mm256_set1_ps(kSin2));
  sine = _mm256_fmadd_ps(sine, f2, _mm256_set1_ps(kSin1));
  sine = _mm256_fmadd_ps(sine, f2, _mm256_set1_ps(kSin0));
  sine = _mm256_mul_ps(f, sine);
  __m256 cosine = _mm256_fmadd_ps(_mm256_set1_ps(kCos3), f2, _mm256_set1_ps(kCos2));
  cosine = _mm256_fmadd_ps(cosine, f2, _mm256_set1_ps(kCos1));
  cosine = _mm256_fmadd_ps(cosine, f2, _mm256_set1_ps(kCos0));
  cosine = _mm256_xor_ps(cosine, _mm256_and_ps(_mm256_castsi256_ps(words.a), _mm256_set1_ps(-0.0F)));
  const __m256 along = _mm256_mul_ps(radius, cosine);
  const __m256 across = _mm256_mul_ps(radius, sine);
  const __m256 swapped = _mm256_castsi256_ps(_mm256_slli_epi32(words.a, 31));
  store_interleaved(_mm256_blendv_ps(along, across, swapped), _mm256_blendv_ps(across, along, swapped), out);
}

ZO2_AVX2 void normals(const PhiloxRange& range, int64_t groups, float* out) {
  const RoundKeys keys = round_keys(range.seed);
  const __m256i vector_step = _mm256_set1_epi64x(kVectorBlocks);
  __m256i w0 = first_counters(range);
  for (int64_t i = 0; i < groups * kGroupBlocks; i += kVectorBlocks, out += kVectorWords) {
    normals_of(philox(w0, range.first, keys), out);
    w0 = _mm256_add_epi64(w0, vector_step);
  }
}

ZO2_AVX2 void words(const PhiloxRange& range, int64_t groups, uint32_t* out) {
  const RoundKeys keys = round_keys(range.seed);
  const __m256i vector_step = _mm256_set1_epi64x(kVectorBlocks);
  __m256i w0 = first_counters(range);
  for (int64_t i = 0; i < groups * kGroupBlocks; i += kVectorBlocks, out += kVectorWords) {
    const WordPairs pairs = philox(w0, range.first, keys);
    store_interleaved(_mm256_castsi256_ps(pairs.a), _mm256_castsi256_ps(pairs.b), out);
    w0 = _mm256_add_epi64(w0, vector_step);
  }
}

ZO2_AVX2 void signs(const uint32_t* words, int64_t count, float* out) {
  const __m256i shifts = _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24);
  const __m256 sign_bit = _mm256_set1_ps(-0.0F);
  const __m256 one = _mm256_set1_ps(1.0F);
  for (int64_t i = 0; i < count; ++i) {
    const __m256i word = _mm256_set1_epi32(static_cast<int>(words[i]));
#pragma GCC unroll 4
    for (int part = 0; part < 4; ++part, out += 8) {
      const __m256i shifted = _mm256_sllv_epi32(word, _mm256_sub_epi32(shifts, _mm256_set1_epi32(8 * part)));
      _mm256_storeu_ps(out, _mm256_or_ps(_mm256_and_ps(_mm256_castsi256_ps(shifted), sign_bit), one));
    }
  }
}

}  // namespace

const NoiseKernels kAvx2Kernels = {normals, words, signs};

}  // namespace zo2

#endif

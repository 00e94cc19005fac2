// AVX-512 (F, DQ, VL), chosen at run time: functions carry their target, so the file needs no compiler flags.
//
// Philox runs on 64-bit lanes, one block a lane, with a state word in the low half of each: vpmuludq reads only low
// halves, so a product's low word needs no extraction and the garbage above it no masking. Lane order 0 4 1 5 2 6 3 7
// makes the last interleave (unpacklo, unpackhi, which work inside 128 bits) land in memory order. Normals are made two
// vectors at a time: one chain of dependent operations is longer than the machine looks ahead (measured: 10% faster).
#ifdef __x86_64__

// GCC 12 takes the intrinsics' deliberately undefined operands for mistakes (its bug 105593).
#pragma GCC diagnostic push
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#pragma GCC diagnostic pop

#include "noise/kernels.h"
#include "noise/normal.h"

namespace zo2 {
namespace {

#define ZO2_AVX512 __attribute__((target("avx512f,avx512dq,avx512vl")))
#define ZO2_AVX512_INLINE ZO2_AVX512 __attribute__((always_inline)) inline

constexpr int64_t kVectorBlocks = 8;
constexpr int64_t kVectorWords = 4 * kVectorBlocks;
static_assert(kGroupBlocks == 2 * kVectorBlocks);
constexpr __mmask16 kEvenLanes = 0x5555;
constexpr __mmask16 kOddLanes = 0xAAAA;
constexpr int kXor3 = 0x96;  // truth table of a ^ b ^ c

// Words of eight blocks: a = (w0, w2) and b = (w1, w3) of one block in each 64-bit lane.
struct WordPairs {
  __m512i a, b;
};

ZO2_AVX512_INLINE __m512i high_halves(__m512i x) {
  return _mm512_castps_si512(_mm512_movehdup_ps(_mm512_castsi512_ps(x)));
}

ZO2_AVX512_INLINE WordPairs philox(__m512i w0, const Philox4& counter, const RoundKeys& keys) {
  const __m512i m0 = _mm512_set1_epi64(kPhiloxM0);
  const __m512i m1 = _mm512_set1_epi64(kPhiloxM1);
  __m512i w1 = _mm512_set1_epi64(counter.w1);
  __m512i w2 = _mm512_set1_epi64(counter.w2);
  __m512i w3 = _mm512_set1_epi64(counter.w3);
#pragma GCC unroll 10
  for (int round = 0; round < kPhiloxRounds - 1; ++round) {
    const __m512i product0 = _mm512_mul_epu32(w0, m0);
    const __m512i product1 = _mm512_mul_epu32(w2, m1);
    const __m512i key0 = _mm512_set1_epi64(static_cast<int64_t>(keys.low[round]));
    const __m512i key1 = _mm512_set1_epi64(static_cast<int64_t>(keys.high[round]));
    w0 = _mm512_ternarylogic_epi64(high_halves(product1), w1, key0, kXor3);
    w2 = _mm512_ternarylogic_epi64(high_halves(product0), w3, key1, kXor3);
    w1 = product1;
    w3 = product0;
  }
  // The last round packs as it goes: first of each pair below, second above.
  const __m512 product0 = _mm512_castsi512_ps(_mm512_mul_epu32(w0, m0));
  const __m512 product1 = _mm512_castsi512_ps(_mm512_mul_epu32(w2, m1));
  const __m512i high = _mm512_castps_si512(_mm512_mask_movehdup_ps(product0, kEvenLanes, product1));
  const __m512i xored =
      _mm512_castps_si512(_mm512_mask_moveldup_ps(_mm512_castsi512_ps(w1), kOddLanes, _mm512_castsi512_ps(w3)));
  const __m512i key = _mm512_set1_epi64(static_cast<int64_t>(keys.last));
  return {_mm512_ternarylogic_epi64(high, xored, key, kXor3),
          _mm512_castps_si512(_mm512_mask_moveldup_ps(product1, kOddLanes, product0))};
}

ZO2_AVX512_INLINE __m512i first_counters(const PhiloxRange& range) {
  return _mm512_add_epi64(_mm512_set1_epi64(range.first.w0), _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7));
}

ZO2_AVX512_INLINE void store_interleaved(__m512 first, __m512 second, void* out) {
  float* const to = static_cast<float*>(out);
  _mm512_storeu_ps(to, _mm512_unpacklo_ps(first, second));
  _mm512_storeu_ps(to + 16, _mm512_unpackhi_ps(first, second));
}

// normal_pair of normal.h, sixteen at a time.
ZO2_AVX512_INLINE void normals_of(WordPairs words, float* out) {
  using namespace normal_constants;
  // (a & 0x7FFFFFFF) | 1
  const __m512i sign_bit = _mm512_set1_epi32(static_cast<int>(0x80000000));
  const __m512i one = _mm512_set1_epi32(1);
  const __m512i u31 = _mm512_ternarylogic_epi32(words.a, sign_bit, one, 0xBA);
  const __m512i u_bits = _mm512_castps_si512(_mm512_cvtepi32_ps(u31));
  const __m512i exponent =
      _mm512_and_si512(_mm512_sub_epi32(u_bits, _mm512_set1_epi32(static_cast<int>(kSqrtHalfBits + (31u << 23)))),
                       _mm512_set1_epi32(static_cast<int>(0xFF800000)));
  const __m512 x = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_sub_epi32(u_bits, exponent)),
                                   _mm512_set1_ps(kTwoPowMinus31), _mm512_set1_ps(-1.0F));
  __m512 log_ratio = _mm512_fmadd_ps(_mm512_set1_ps(kLog7), x, _mm512_set1_ps(kLog6));
  log_ratio = _mm512_fmadd_ps(log_ratio, x, _mm512_set1_ps(kLog5));
  log_ratio = _mm512_fmadd_ps(log_ratio, x, _mm512_set1_ps(kLog4));
  log_ratio = _mm512_fmadd_ps(log_ratio, x, _mm512_set1_ps(kLog3));
  log_ratio = _mm512_fmadd_ps(log_ratio, x, _mm512_set1_ps(kLog2));
  log_ratio = _mm512_fmadd_ps(log_ratio, x, _mm512_set1_ps(kLog1));
  log_ratio = _mm512_fmadd_ps(log_ratio, x, _mm512_set1_ps(kLog0));
  const __m512 exponent_part = _mm512_mul_ps(_mm512_cvtepi32_ps(exponent), _mm512_set1_ps(kExponentScale));
  const __m512 radius = _mm512_sqrt_ps(_mm512_fmadd_ps(log_ratio, x, exponent_part));

  const __m512 f = _mm512_mul_ps(_mm512_cvtepi32_ps(words.b), _mm512_set1_ps(kTwoPowMinus32));
  const __m512 f2 = _mm512_mul_ps(f, f);
  __m512 sine = _mm512_fmadd_ps(_mm512_set1_ps(kSin3), f2, _mm512_set1_ps(kSin2));
  sine = _mm512_fmadd_ps(sine, f2, _mm512_set1_ps(kSin1));
  sine = _mm512_fmadd_ps(sine, f2, _mm512_set1_ps(kSin0));
  sine = _mm512_mul_ps(f, sine);
  __m512 cosine = _mm512_fmadd_ps(_mm512_set1_ps(kCos3), f2, _mm512_set1_ps(kCos2));
  cosine = _mm512_fmadd_ps(cosine, f2, _mm512_set1_ps(kCos1));
  cosine = _mm512_fmadd_ps(cosine, f2, _mm512_set1_ps(kCos0));
  // cosine ^ (a & sign bit)
  cosine = _mm512_castsi512_ps(_mm512_ternarylogic_epi32(_mm512_castps_si512(cosine), words.a, sign_bit, 0x78));
  const __m512 along = _mm512_mul_ps(radius, cosine);
  const __m512 across = _mm512_mul_ps(radius, sine);
  const __mmask16 swapped = _mm512_test_epi32_mask(words.a, one);
  store_interleaved(_mm512_mask_blend_ps(swapped, along, across), _mm512_mask_blend_ps(swapped, across, along), out);
}

ZO2_AVX512 void normals(const PhiloxRange& range, int64_t groups, float* out) {
  const RoundKeys keys = round_keys(range.seed);
  const __m512i vector_step = _mm512_set1_epi64(kVectorBlocks);
  __m512i w0 = first_counters(range);
  for (int64_t group = 0; group < groups; ++group, out += kGroupWords) {
    const WordPairs pairs = philox(w0, range.first, keys);
    w0 = _mm512_add_epi64(w0, vector_step);
    const WordPairs next_pairs = philox(w0, range.first, keys);
    w0 = _mm512_add_epi64(w0, vector_step);
    normals_of(pairs, out);
    normals_of(next_pairs, out + kVectorWords);
  }
}

ZO2_AVX512 void words(const PhiloxRange& range, int64_t groups, uint32_t* out) {
  const RoundKeys keys = round_keys(range.seed);
  const __m512i vector_step = _mm512_set1_epi64(kVectorBlocks);
  __m512i w0 = first_counters(range);
  for (int64_t i = 0; i < groups * kGroupBlocks; i += kVectorBlocks, out += kVectorWords) {
    const WordPairs pairs = philox(w0, range.first, keys);
    store_interleaved(_mm512_castsi512_ps(pairs.a), _mm512_castsi512_ps(pairs.b), out);
    w0 = _mm512_add_epi64(w0, vector_step);
  }
}

ZO2_AVX512 void signs(const uint32_t* words, int64_t count, float* out) {
  const __m512i low_shifts = _mm512_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16);
  const __m512i high_shifts = _mm512_sub_epi32(low_shifts, _mm512_set1_epi32(16));
  const __m512i sign_bit = _mm512_set1_epi32(static_cast<int>(0x80000000));
  const __m512i one = _mm512_castps_si512(_mm512_set1_ps(1.0F));
  for (int64_t i = 0; i < count; ++i, out += 32) {
    const __m512i word = _mm512_set1_epi32(static_cast<int>(words[i]));
    // (shifted & sign bit) | 1.0
    const __m512i low = _mm512_ternarylogic_epi32(_mm512_sllv_epi32(word, low_shifts), sign_bit, one, 0xEA);
    const __m512i high = _mm512_ternarylogic_epi32(_mm512_sllv_epi32(word, high_shifts), sign_bit, one, 0xEA);
    _mm512_storeu_ps(out, _mm512_castsi512_ps(low));
    _mm512_storeu_ps(out + 16, _mm512_castsi512_ps(high));
  }
}

}  // namespace

const NoiseKernels kAvx512Kernels = {normals, words, signs};

}  // namespace zo2

#endif

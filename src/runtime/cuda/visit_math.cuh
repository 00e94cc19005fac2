// The arithmetic of a visit on N neighbouring elements of one parameter, in registers. The same operations in the same
// order as the CPU's (runtime/cpu/visit.cpp): fold in float32, one rounding, then w_t +- eps z; equal to the bit.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <type_traits>

#include "noise/normal.h"
#include "noise/philox.h"
#include "runtime/cuda/entry.h"

namespace zo2::cuda {

__device__ __forceinline__ float to_float(float value) { return value; }
__device__ __forceinline__ float to_float(__half value) { return __half2float(value); }
__device__ __forceinline__ float to_float(__nv_bfloat16 value) { return __bfloat162float(value); }

template <typename T>
__device__ __forceinline__ T from_float(float value) {
  if constexpr (std::is_same_v<T, __half>) {
    return __float2half_rn(value);
  } else if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    return __float2bfloat16_rn(value);
  } else {
    return value;
  }
}

// N elements moved at once: 16-byte accesses where N * sizeof(T) allows it.
template <typename T, int N>
struct alignas(N * sizeof(T) >= 16 ? 16 : N * sizeof(T)) Pack {
  T value[N];
};

// z of elements index ... index + N - 1; index is a multiple of N, and N is 4 or 8.
template <Distribution D, int N>
__device__ __forceinline__ void draw(const NoiseKey& key, uint64_t index, float (&z)[N]) {
  static_assert(N == 4 || N == 8);
  if constexpr (D == Distribution::gaussian) {
#pragma unroll
    for (int part = 0; part < N; part += 4) {
      const Philox4 words = philox4x32_10(noise_counter(key, (index + part) / 4), key.seed);
      const NormalPair a = normal_pair(words.w0, words.w1);
      const NormalPair b = normal_pair(words.w2, words.w3);
      z[part] = a.first;
      z[part + 1] = a.second;
      z[part + 2] = b.first;
      z[part + 3] = b.second;
    }
  } else {
    const Philox4 words = philox4x32_10(noise_counter(key, index / 128), key.seed);
    const uint32_t which = static_cast<uint32_t>(index % 128) / 32;
    const uint32_t word = which == 0 ? words.w0 : which == 1 ? words.w1 : which == 2 ? words.w2 : words.w3;
#pragma unroll
    for (int i = 0; i < N; ++i) z[i] = rademacher_value(word, static_cast<uint32_t>(index % 32) + i);
  }
}

// The same, rounded to T where noise is (Scheme::noise_buffer).
template <typename T, Distribution D, bool kRounded, int N>
__device__ __forceinline__ void draw_direction(uint64_t seed, uint32_t pair, uint32_t parameter_id, uint64_t index,
                                               float (&z)[N]) {
  draw<D, N>({seed, Purpose::direction, pair, parameter_id, 0}, index, z);
  if constexpr (kRounded) {
#pragma unroll
    for (int i = 0; i < N; ++i) z[i] = to_float(from_float<T>(z[i]));
  }
}

// Up or down with probabilities that make the expectation exact; see round_stochastically (runtime/cpu/visit.h).
template <typename T>
__device__ __forceinline__ float round_stochastically(float value, uint32_t bits) {
  constexpr int kDropped = std::is_same_v<T, __nv_bfloat16> ? 16 : 13;
  constexpr uint32_t kMask = (1u << kDropped) - 1;
  const uint32_t word = __float_as_uint(value);
  if ((word & 0x7f800000u) == 0x7f800000u) return value;
  if (std::is_same_v<T, __half> && (word & 0x7fffffffu) < 0x38800000u) {
    const float scaled = __fmul_rn(fabsf(value), 0x1p24f);
    const float whole = floorf(scaled);
    const float chance = __fmul_rn(__uint2float_rn(bits >> 8), 0x1p-24f);
    const float up = chance < __fsub_rn(scaled, whole) ? 1.0f : 0.0f;
    return copysignf(__fmul_rn(__fadd_rn(whole, up), 0x1p-24f), value);
  }
  return __uint_as_float((word + (bits & kMask)) & ~kMask);
}

struct FoldParameter {
  uint32_t id;
  bool decays;
};

// w becomes w_t, exactly representable in T. An entry without an update leaves w as it is. M groups of N neighbours go
// side by side: what an entry needs is read once, and one group's arithmetic fills the other's waits.
template <typename T, Distribution D, bool kRounded, int M, int N>
__device__ __forceinline__ void fold(const PendingEntries& pending, const FoldParameter& parameter, bool stochastic,
                                     const uint64_t (&index)[M], float (&w)[M][N]) {
  for (uint32_t i = 0; i < pending.count; ++i) {
    const DeviceEntry entry = pending.ring[(pending.first + i) % kRingEntries];
    const float decay = parameter.decays ? entry.decay : 1.0f;
    if (entry.alpha == 0.0f && decay == 1.0f) continue;
#pragma unroll
    for (int m = 0; m < M; ++m) {
      float z[N];
      draw_direction<T, D, kRounded, N>(entry.seed, entry.pair, parameter.id, index[m], z);
#pragma unroll
      for (int j = 0; j < N; ++j) w[m][j] = __fmaf_rn(-entry.alpha, z[j], __fmul_rn(w[m][j], decay));
    }
  }
  if (std::is_same_v<T, float> || pending.count == 0) return;
  if (stochastic) {
    const DeviceEntry newest = pending.ring[(pending.first + pending.count - 1) % kRingEntries];
    const NoiseKey key{newest.seed, Purpose::rounding, 0, parameter.id, newest.step};
#pragma unroll
    for (int m = 0; m < M; ++m) {
#pragma unroll
      for (int part = 0; part < N; part += 4) {
        const Philox4 bits = philox4x32_10(noise_counter(key, (index[m] + part) / 4), key.seed);
        w[m][part] = round_stochastically<T>(w[m][part], bits.w0);
        w[m][part + 1] = round_stochastically<T>(w[m][part + 1], bits.w1);
        w[m][part + 2] = round_stochastically<T>(w[m][part + 2], bits.w2);
        w[m][part + 3] = round_stochastically<T>(w[m][part + 3], bits.w3);
      }
    }
  } else {
#pragma unroll
    for (int m = 0; m < M; ++m) {
#pragma unroll
      for (int j = 0; j < N; ++j) w[m][j] = to_float(from_float<T>(w[m][j]));
    }
  }
}

// The same for one group.
template <typename T, Distribution D, bool kRounded, int N>
__device__ __forceinline__ void fold(const PendingEntries& pending, const FoldParameter& parameter, bool stochastic,
                                     uint64_t index, float (&w)[N]) {
  const uint64_t indices[1] = {index};
  fold<T, D, kRounded>(pending, parameter, stochastic, indices, reinterpret_cast<float(&)[1][N]>(w));
}

}  // namespace zo2::cuda

// Philox4x32-10 (Salmon et al., SC 2011): a bijection of 128-bit counters under a 64-bit key, and the counters that
// this project gives to it. For g++, clang++ and nvcc; the vector versions in kernels_*.cpp compute the same words.
#pragma once

#include "noise/host_device.h"
#include "noise/key.h"

namespace zo2 {

// A counter, or the four random words that it is mapped to.
struct Philox4 {
  uint32_t w0, w1, w2, w3;
};

inline constexpr int kPhiloxRounds = 10;
inline constexpr uint32_t kPhiloxM0 = 0xD2511F53;  // multipliers of the paper's table 2
inline constexpr uint32_t kPhiloxM1 = 0xCD9E8D57;
inline constexpr uint32_t kPhiloxW0 = 0x9E3779B9;  // golden ratio: the low key word grows by it each round
inline constexpr uint32_t kPhiloxW1 = 0xBB67AE85;  // sqrt(3) - 1: and the high one by this

ZO2_HOST_DEVICE Philox4 philox4x32_10(Philox4 counter, uint64_t seed) {
  uint32_t key0 = static_cast<uint32_t>(seed);
  uint32_t key1 = static_cast<uint32_t>(seed >> 32);
#ifdef __CUDA_ARCH__
#pragma unroll
#endif
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const uint32_t high0 = exact::high_product(kPhiloxM0, counter.w0);
    const uint32_t high1 = exact::high_product(kPhiloxM1, counter.w2);
    counter = {high1 ^ counter.w1 ^ key0, kPhiloxM1 * counter.w2, high0 ^ counter.w3 ^ key1, kPhiloxM0 * counter.w0};
    key0 += kPhiloxW0;
    key1 += kPhiloxW1;
  }
  return counter;
}

// The counter of block number `block` (below 2^48) of a tensor's noise: element index / 4 for Gaussian noise and bits,
// element index / 128 for Rademacher noise.
ZO2_HOST_DEVICE Philox4 noise_counter(const NoiseKey& key, uint64_t block) {
  return {static_cast<uint32_t>(block),
          static_cast<uint32_t>(key.purpose) << 28 | key.pair << 16 | static_cast<uint32_t>(block >> 32),
          key.parameter_id, key.step};
}

}  // namespace zo2

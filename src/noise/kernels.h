// Internal: what each instruction set implements for noise.cpp. Whole groups only; noise.cpp cuts ranges into them.
#pragma once

#include "noise/philox.h"
#include "noise/simd.h"

namespace zo2 {

// Blocks first, first + 1, ...: only w0 counts up, and wraps without a carry into w1.
struct PhiloxRange {
  Philox4 first;
  uint64_t seed;
};

inline constexpr int64_t kGroupBlocks = 16;  // Philox blocks a group: two AVX-512 vectors of 64-bit lanes
inline constexpr int64_t kGroupWords = 4 * kGroupBlocks;

// The key words of each round, each in a 64-bit lane.
struct RoundKeys {
  uint64_t low[kPhiloxRounds];
  uint64_t high[kPhiloxRounds];
  uint64_t last;  // both words of the last round, the first one below
};

inline RoundKeys round_keys(uint64_t seed) {
  RoundKeys keys{};
  uint32_t low = static_cast<uint32_t>(seed);
  uint32_t high = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < kPhiloxRounds; ++round, low += kPhiloxW0, high += kPhiloxW1) {
    keys.low[round] = low;
    keys.high[round] = high;
    keys.last = uint64_t{high} << 32 | low;
  }
  return keys;
}

struct NoiseKernels {
  void (*normals)(const PhiloxRange& range, int64_t groups, float* out);   // out: [groups, kGroupWords]
  void (*words)(const PhiloxRange& range, int64_t groups, uint32_t* out);  // out: [groups, kGroupWords]
  void (*signs)(const uint32_t* words, int64_t count, float* out);         // out: [count, 32]
};

extern const NoiseKernels kScalarKernels;
#ifdef __x86_64__
extern const NoiseKernels kAvx2Kernels;
extern const NoiseKernels kAvx512Kernels;
#endif

}  // namespace zo2

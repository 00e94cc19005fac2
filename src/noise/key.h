// What a noise value is a function of. Plain data, also for CUDA; noise.h fills arrays, philox.h and normal.h hold the
// arithmetic.
#pragma once

#include <cstdint>

namespace zo2 {

// Raised whenever any bit of any noise changes; stands in every step log's header.
inline constexpr int kNoiseVersion = 1;

// gaussian: standard normal. rademacher: -1 or +1, each with probability one half.
enum class Distribution : uint8_t { gaussian, rademacher };

// What the values are for: each purpose is a stream of its own under the same seed.
enum class Purpose : uint32_t { initial_weights = 0, direction = 1, rounding = 2, seed_sequence = 3 };

// Names one tensor's noise; the element index inside the tensor (row * cols + col in the canonical [out, in] layout,
// below 2^50) is given apart.
struct NoiseKey {
  uint64_t seed = 0;
  Purpose purpose = Purpose::direction;
  uint32_t pair = 0;          // direction pair within a step, below kMaxPairs
  uint32_t parameter_id = 0;  // layer * 64 + role
  uint32_t step = 0;          // step of the newest folded entry when purpose is rounding, else 0
};

inline constexpr uint32_t kMaxPairs = 4096;
inline constexpr int64_t kMaxNoiseIndex = int64_t{1} << 50;

}  // namespace zo2

// Noise as a pure function of (seed, purpose, pair, parameter id, step, element index): any range of any tensor's noise
// can be made alone, in any order, on any machine, with the same bits. Philox4x32-10 (Salmon et al., "Parallel random
// numbers: as easy as 1, 2, 3", SC 2011) gives the random words, Box-Muller (normal.h) makes normals of them.
//
// Element i of a tensor takes word i % 4 of the Philox block i / 4. Gaussian elements 0 and 1 of a block come from
// words 0 and 1, elements 2 and 3 from words 2 and 3. A Rademacher element takes one bit, so that one Philox call
// serves 128: bit i % 32 of word (i % 128) / 32 of the block i / 128; a bit of 1 means -1.
//
// All functions are single-threaded and may be called from any number of threads at once: a caller splits a range as it
// likes. They use the widest instruction set of the machine (simd.h); the CUDA kernels include philox.h and normal.h.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "noise/key.h"

namespace zo2 {

// "gaussian" or "rademacher".
std::string_view distribution_name(Distribution distribution);

// The inverse of distribution_name; throws UsageError naming the known ones.
Distribution parse_distribution(std::string_view name);

// out[j] = noise of element first_index + j. Any first_index >= 0 and any length, up to element 2^50.
void fill_noise(Distribution distribution, const NoiseKey& key, int64_t first_index, std::span<float> out);

// out[j] = 32 uniform random bits for element first_index + j (stochastic rounding).
void fill_bits(const NoiseKey& key, int64_t first_index, std::span<uint32_t> out);

// Entry `step` of the sequence of 64-bit seeds that grows from root_seed: words 0 (low) and 1 (high) of the Philox
// block with counter (low half of step, seed_sequence << 28, 0, high half of step).
uint64_t seed_at(uint64_t root_seed, uint64_t step);

}  // namespace zo2

// Hashes that pin every bit of noise version 1: golden_test.cpp checks them in this build, golden_main.cpp under other
// compilers and flags. Values are hashed as little-endian 32-bit words. When one changes, kNoiseVersion must rise.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/sha256.h"
#include "noise/noise.h"

namespace zo2 {

enum class GoldenKind { gaussian, rademacher, bits };

struct GoldenCase {
  const char* name;
  GoldenKind kind;
  NoiseKey key;
  int64_t first_index;
  const char* sha256;
};

inline constexpr int64_t kGoldenSize = (1 << 20) + 3;
inline constexpr uint64_t kGoldenSeed = 0x9E2D4C6B8A01F357;

inline constexpr GoldenCase kGoldenCases[] = {
    {"gaussian",
     GoldenKind::gaussian,
     {kGoldenSeed, Purpose::direction, 0, 129, 0},
     1234567,
     "8118e36a3b60466ad0a355073b0f9c21544dddc88e74a39263af32ecce95961d"},
    {"gaussian, carry into the high bits",
     GoldenKind::gaussian,
     {kGoldenSeed, Purpose::initial_weights, 4095, 1, 0},
     (int64_t{5} << 34) - 524289,
     "2c178257924e12022edb71e21efdae0b1d76d8b98788d194b761abadc4762a1b"},
    {"rademacher",
     GoldenKind::rademacher,
     {kGoldenSeed, Purpose::direction, 1, 129, 0},
     1234567,
     "c8b2a42972aa5d8e53b0d636fe26b2eed1cbc7d0304ad59c669f6eb31a04c320"},
    {"rademacher, carry into the high bits",
     GoldenKind::rademacher,
     {kGoldenSeed, Purpose::direction, 7, 0, 0},
     (int64_t{3} << 39) - 524289,
     "c9e351a74abbdf743c7ef3c8ea1a36f11a4d015187cdaf7fae2a1cdd9b2d5dc9"},
    {"bits",
     GoldenKind::bits,
     {kGoldenSeed, Purpose::rounding, 0, 129, 123456789},
     1234567,
     "e3f0e319fcbcfb95579e570b80f79850d90bc1473d4fe0833a29a6284aa6d49e"},
};

inline std::string golden_hash(const GoldenCase& golden) {
  std::vector<uint32_t> words(kGoldenSize);
  if (golden.kind == GoldenKind::bits) {
    fill_bits(golden.key, golden.first_index, words);
  } else {
    std::vector<float> values(kGoldenSize);
    fill_noise(golden.kind == GoldenKind::gaussian ? Distribution::gaussian : Distribution::rademacher, golden.key,
               golden.first_index, values);
    for (size_t i = 0; i < values.size(); ++i) words[i] = __builtin_bit_cast(uint32_t, values[i]);
  }
  Sha256 hash;
  hash.update(words.data(), words.size() * sizeof(uint32_t));
  return hash.hex_digest();
}

}  // namespace zo2

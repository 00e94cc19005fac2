// Equal bits: the golden hashes, scalar against vector code, and any cut of a range against the whole.
#include "golden.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "base/error.h"
#include "levels.h"

namespace zo2 {
namespace {

TEST(Golden, EveryLevelGivesTheHashes) {
  for (SimdLevel level : available_levels()) {
    const WithLevel with(level);
    for (const GoldenCase& golden : kGoldenCases) {
      EXPECT_EQ(golden_hash(golden), golden.sha256) << simd_level_name(level) << ", " << golden.name;
    }
  }
}

TEST(Simd, RefusesALevelThatTheMachineLacks) {
  if (best_simd_level() == SimdLevel::avx512) GTEST_SKIP() << "this machine has every level";
  EXPECT_THROW(force_simd_level(SimdLevel::avx512), UsageError);
}

// Fills words at `level` by any of the three functions.
void fill_words(SimdLevel level, GoldenKind kind, const NoiseKey& key, int64_t first, std::span<uint32_t> out) {
  const WithLevel with(level);
  if (kind == GoldenKind::bits) return fill_bits(key, first, out);
  std::vector<float> values(out.size());
  fill_noise(kind == GoldenKind::gaussian ? Distribution::gaussian : Distribution::rademacher, key, first, values);
  if (!values.empty()) std::memcpy(out.data(), values.data(), out.size_bytes());
}

constexpr GoldenKind kKinds[] = {GoldenKind::gaussian, GoldenKind::rademacher, GoldenKind::bits};
constexpr NoiseKey kKey = {.seed = 77, .purpose = Purpose::direction, .pair = 2, .parameter_id = 64};

// 2^27 pairs at the best level, a quarter of it at others: u rounds to 1 (radius 0) in one pair of 2^25.
TEST(Levels, AgreeOnManyNormals) {
  constexpr int64_t kChunk = 1 << 16;
  constexpr int64_t kChunksARound = 64;  // a level is forced for all threads, so they meet after each fill
  std::vector<float> reference(kChunksARound * kChunk), values(kChunksARound * kChunk);
  int64_t zeros = 0;
  for (SimdLevel level : available_levels()) {
    if (level == SimdLevel::scalar) continue;
    const int64_t rounds = level == best_simd_level() ? 64 : 16;
    for (int64_t round = 0; round < rounds; ++round) {
      const auto fill = [&](SimdLevel use, std::vector<float>& to) {
        const WithLevel with(use);
        on_two_threads(kChunksARound, [&](int64_t chunk, int) {
          fill_noise(Distribution::gaussian, kKey, (round * kChunksARound + chunk) * kChunk,
                     std::span(to).subspan(static_cast<size_t>(chunk * kChunk), kChunk));
        });
      };
      fill(SimdLevel::scalar, reference);
      fill(level, values);
      ASSERT_EQ(std::memcmp(reference.data(), values.data(), values.size() * sizeof(float)), 0)
          << simd_level_name(level) << ", round " << round;
      zeros += std::count(values.begin(), values.end(), 0.0F);
    }
  }
  EXPECT_TRUE(zeros > 0 || best_simd_level() == SimdLevel::scalar);
}

TEST(Ranges, AnyCutEqualsTheWhole) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "random seed " << seed);
  std::mt19937_64 random(seed);
  constexpr int64_t kSize = 20000;
  for (GoldenKind kind : kKinds) {
    // Around 2^34 elements (2^39 for Rademacher) the counter carries into its high bits.
    const int64_t carry = int64_t{1} << (kind == GoldenKind::rademacher ? 39 : 34);
    for (int64_t first : {int64_t{0}, int64_t{12345}, carry - 10001, 2 * carry - 1, kMaxNoiseIndex - kSize}) {
      std::vector<uint32_t> whole(kSize), cut(kSize);
      fill_words(SimdLevel::scalar, kind, kKey, first, whole);
      for (SimdLevel level : available_levels()) {
        for (int64_t largest : {3, 40, 300, 9000}) {
          std::uniform_int_distribution<int64_t> size(0, largest);
          for (int64_t done = 0; done < kSize;) {
            const int64_t count = std::min(size(random), kSize - done);
            fill_words(level, kind, kKey, first + done,
                       std::span(cut).subspan(static_cast<size_t>(done), static_cast<size_t>(count)));
            done += count;
          }
          ASSERT_EQ(cut, whole) << simd_level_name(level) << ", kind " << static_cast<int>(kind) << ", first " << first
                                << ", pieces up to " << largest;
        }
      }
    }
  }
}

TEST(Ranges, WriteNothingOutside) {
  for (SimdLevel level : available_levels()) {
    const WithLevel with(level);
    for (Distribution distribution : {Distribution::gaussian, Distribution::rademacher}) {
      for (int64_t first = 0; first < 40; ++first) {
        for (size_t size = 0; size < 200; size += 7) {
          std::vector<float> out(size + 2, 99.0F);
          fill_noise(distribution, kKey, first, std::span(out).subspan(1, size));
          ASSERT_EQ(out.front(), 99.0F);
          ASSERT_EQ(out.back(), 99.0F);
        }
      }
    }
  }
}

TEST(Ranges, HighBitsOfTheIndexMatter) {
  for (GoldenKind kind : kKinds) {
    const int64_t carry = int64_t{1} << (kind == GoldenKind::rademacher ? 39 : 34);
    std::vector<std::vector<uint32_t>> blocks;
    for (int64_t high : {0, 1, 2, 1023}) {
      if (high * carry >= kMaxNoiseIndex) continue;
      blocks.emplace_back(1000);
      fill_words(best_simd_level(), kind, kKey, high * carry, blocks.back());
      for (size_t i = 0; i + 1 < blocks.size(); ++i) EXPECT_NE(blocks[i], blocks.back()) << high;
    }
  }
}

}  // namespace
}  // namespace zo2

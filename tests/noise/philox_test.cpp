// The words themselves: published vectors, the layout of counters, and the scalar functions that others build on.
#include "noise/philox.h"

#include <gtest/gtest.h>

#include <array>
#include <set>
#include <vector>

#include "base/error.h"
#include "noise/noise.h"
#include "noise/normal.h"

namespace zo2 {
namespace {

std::array<uint32_t, 4> as_array(const Philox4& words) { return {words.w0, words.w1, words.w2, words.w3}; }

// The known answers for philox4x32-10 that Random123 1.14 publishes (kat_vectors).
TEST(Philox, GivesTheKnownAnswers) {
  const auto answer = [](Philox4 counter, uint32_t key0, uint32_t key1) {
    return as_array(philox4x32_10(counter, uint64_t{key1} << 32 | key0));
  };
  using Words = std::array<uint32_t, 4>;
  EXPECT_EQ(answer({0, 0, 0, 0}, 0, 0), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(answer({~0u, ~0u, ~0u, ~0u}, ~0u, ~0u), (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(answer({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0xa4093822, 0x299f31d0),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, PutsEachPartOfTheKeyInItsPlace) {
  const NoiseKey key = {.seed = 1, .purpose = Purpose::rounding, .pair = 0xABC, .parameter_id = 0x12345678, .step = 99};
  EXPECT_EQ(as_array(noise_counter(key, 0xFEDC'89ABCDEF)),
            (std::array<uint32_t, 4>{0x89ABCDEF, 0x2ABCFEDC, 0x12345678, 99}));
}

constexpr NoiseKey kKey = {
    .seed = 0x0123456789ABCDEF, .purpose = Purpose::direction, .pair = 3, .parameter_id = 65, .step = 0};

TEST(Noise, BitsOfAnElementAreAWordOfItsBlock) {
  std::vector<uint32_t> bits(1000);
  fill_bits(kKey, 5, bits);
  for (size_t j = 0; j < bits.size(); ++j) {
    const size_t index = j + 5;
    ASSERT_EQ(bits[j], as_array(philox4x32_10(noise_counter(kKey, index / 4), kKey.seed))[index % 4]) << index;
  }
}

TEST(Noise, GaussianElementsComeFromTheirPairOfWords) {
  std::vector<float> noise(1000);
  fill_noise(Distribution::gaussian, kKey, 5, noise);
  for (size_t j = 0; j < noise.size(); ++j) {
    const size_t index = j + 5;
    const auto words = as_array(philox4x32_10(noise_counter(kKey, index / 4), kKey.seed));
    const size_t pair = index % 4 / 2 * 2;
    const NormalPair normals = normal_pair(words[pair], words[pair + 1]);
    ASSERT_EQ(noise[j], index % 2 == 0 ? normals.first : normals.second) << index;
  }
}

TEST(Noise, RademacherElementsAreBitsOfTheBlockOf128) {
  std::vector<float> noise(5000);
  fill_noise(Distribution::rademacher, kKey, 77, noise);
  for (size_t j = 0; j < noise.size(); ++j) {
    const size_t index = j + 77;
    const auto words = as_array(philox4x32_10(noise_counter(kKey, index / 128), kKey.seed));
    const bool negative = (words[index % 128 / 32] >> (index % 32) & 1) != 0;
    ASSERT_EQ(noise[j], negative ? -1.0F : 1.0F) << index;
  }
}

TEST(Noise, SeedsOfTheSequenceAreFixedAndDistinct) {
  const auto block = philox4x32_10({7, 0x30000000, 0, 2}, 42);
  EXPECT_EQ(seed_at(42, (uint64_t{2} << 32) + 7), uint64_t{block.w1} << 32 | block.w0);
  std::set<uint64_t> seeds;
  for (uint64_t step = 0; step < 100000; ++step) seeds.insert(seed_at(42, step));
  EXPECT_EQ(seeds.size(), 100000u);
}

TEST(Noise, DistributionNamesReadBack) {
  EXPECT_EQ(parse_distribution(distribution_name(Distribution::gaussian)), Distribution::gaussian);
  EXPECT_EQ(parse_distribution("rademacher"), Distribution::rademacher);
  try {
    parse_distribution("uniform");
    FAIL() << "accepted";
  } catch (const UsageError& error) {
    EXPECT_STREQ(error.what(), "unknown noise 'uniform': known are gaussian, rademacher");
  }
}

}  // namespace
}  // namespace zo2

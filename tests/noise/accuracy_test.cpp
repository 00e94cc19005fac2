// normal_pair against std::log, sin and cos in float64, with the u and f that its comment defines.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "noise/noise.h"
#include "noise/normal.h"

namespace zo2 {
namespace {

struct Reference {
  double first, second;
};

Reference reference_pair(uint32_t a, uint32_t b) {
  const double u = static_cast<double>(static_cast<float>((a & 0x7FFFFFFF) | 1)) * 0x1p-31;
  const double f = static_cast<double>(static_cast<float>(static_cast<int32_t>(b))) * 0x1p-32;
  const double radius = std::sqrt(-2 * std::log(u));
  const double angle = std::numbers::pi / 2 * f;
  const double along = radius * std::cos(angle) * ((a >> 31) != 0 ? -1 : 1);
  const double across = radius * std::sin(angle);
  return (a & 1) != 0 ? Reference{across, along} : Reference{along, across};
}

// Roundings are e = 2^-24 = 6.0e-8. The square of the radius, y = x P(x) + E K, is worst at exponent -1 and
// x = sqrt(2) - 1, where y = ln 2 is half of |E K|: 2 (e from the product + 0.1e from K) + (1.7e-7 from P + 1.6e from
// Horner's steps) + e at the end = 4.6e-7; its root has half of that and e more, 2.9e-7. Cosine and sine have at most
// 6.1e-8 + 1.5e, the last product e. Together 5.0e-7.
constexpr double kBound = 5.0e-7;

double relative_error(float value, double expected) {
  return expected == 0 ? std::abs(value) : std::abs(value - expected) / std::abs(expected);
}

void check(uint32_t a, uint32_t b, double& worst) {
  const NormalPair pair = normal_pair(a, b);
  const Reference expected = reference_pair(a, b);
  worst = std::max({worst, relative_error(pair.first, expected.first), relative_error(pair.second, expected.second)});
}

TEST(Accuracy, RandomWords) {
  std::vector<uint32_t> words(1 << 24);
  fill_bits({.seed = 5}, 0, words);
  double worst = 0;
  for (size_t i = 0; i < words.size(); i += 2) check(words[i], words[i + 1], worst);
  EXPECT_LT(worst, kBound);
  EXPECT_GT(worst, kBound / 4) << "the bound is looser than it should be";
}

TEST(Accuracy, EndsOfTheRanges) {
  double worst = 0;
  constexpr uint32_t kAngles[] = {0, 1, 0x3FFFFFFF, 0x40000000, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xFFFFFFFF};
  for (uint32_t i = 0; i < 1 << 16; ++i) {
    for (uint32_t b : kAngles) {
      for (uint32_t sign : {0u, 0x80000000u}) {
        check(sign | i, b, worst);
        check(sign | (0x7FFFFFFF - i), b, worst);
        check(sign | (0x5A827980 - (1 << 15) + i), b, worst);  // around sqrt(1/2), where the exponent changes
      }
    }
  }
  EXPECT_LT(worst, kBound);
}

TEST(Accuracy, NothingIsInfiniteAndTheTailEndsAt6Point55) {
  EXPECT_FLOAT_EQ(normal_pair(0, 0).first, 6.5555416F);  // sqrt(62 ln 2)
  EXPECT_FLOAT_EQ(normal_pair(0x80000000, 0).first, -6.5555416F);
  EXPECT_EQ(normal_pair(0, 0).second, 0.0F);
  EXPECT_FLOAT_EQ(normal_pair(1, 0).second, 6.5555416F);
  EXPECT_EQ(std::abs(normal_pair(0x7FFFFFFE, 0x12345678).first), 0.0F);
  EXPECT_EQ(std::abs(normal_pair(0x7FFFFFFE, 0x12345678).second), 0.0F);
}

}  // namespace
}  // namespace zo2

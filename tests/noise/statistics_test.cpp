// The noise as samples of its distribution. All limits are five standard errors of the estimate under the hypothesis,
// with the derivation beside; the draws are fixed, so a pass stays a pass.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <numbers>

#include "levels.h"
#include "noise/noise.h"

namespace zo2 {
namespace {

constexpr int64_t kChunk = 1 << 16;
constexpr int kLanes = 8;  // sums are kept apart by lane, which lets the compiler use vectors without reordering
constexpr int kLags = 8;
constexpr int kMoments = 6;
constexpr int kBinsPerUnit = 512;
constexpr int kBins = 16 * kBinsPerUnit;  // over [-8, 8)

using Sum = std::array<double, kLanes>;

double total(const Sum& sum) {
  double result = 0;
  for (double lane : sum) result += lane;
  return result;
}

// What one thread gathers.
struct Sums {
  std::array<Sum, kMoments + 1> powers{};        // of z
  std::array<Sum, kLags + 1> products{};         // z[i] z[i + lag]
  std::array<Sum, kLags + 1> square_products{};  // (z[i]^2 - 1) (z[i + lag]^2 - 1)
  std::array<int64_t, kBins> histogram{};
};

// `z` has kChunk values and kLags more behind them.
void gather(const float* z, Sums& sums) {
  for (int64_t i = 0; i < kChunk; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const double value = z[i + lane];
      double power = 1;
      for (int k = 1; k <= kMoments; ++k) {
        power *= value;
        sums.powers[static_cast<size_t>(k)][static_cast<size_t>(lane)] += power;
      }
      const double centred = value * value - 1;
      for (int lag = 1; lag <= kLags; ++lag) {
        const double other = z[i + lane + lag];
        sums.products[static_cast<size_t>(lag)][static_cast<size_t>(lane)] += value * other;
        sums.square_products[static_cast<size_t>(lag)][static_cast<size_t>(lane)] += centred * (other * other - 1);
      }
    }
  }
  for (int64_t i = 0; i < kChunk; ++i) {
    ++sums.histogram[static_cast<size_t>((static_cast<double>(z[i]) + 8) * kBinsPerUnit)];
  }
}

double normal_cdf(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }

class GaussianStatistics : public testing::Test {
 protected:
  static constexpr double kDraws = 0x1p28;

  static void SetUpTestSuite() {
    static std::array<Sums, 2> by_thread;
    on_two_threads(static_cast<int64_t>(kDraws) / kChunk, [&](int64_t chunk, int thread) {
      thread_local std::vector<float> z(kChunk + kLags);
      fill_noise(Distribution::gaussian, {.seed = 20240607, .parameter_id = 66}, chunk * kChunk, z);
      gather(z.data(), by_thread[static_cast<size_t>(thread)]);
    });
    sums_ = &by_thread[0];
    for (size_t lane = 0; lane < kLanes; ++lane) {
      for (size_t k = 0; k <= kMoments; ++k) sums_->powers[k][lane] += by_thread[1].powers[k][lane];
      for (size_t lag = 0; lag <= kLags; ++lag) {
        sums_->products[lag][lane] += by_thread[1].products[lag][lane];
        sums_->square_products[lag][lane] += by_thread[1].square_products[lag][lane];
      }
    }
    for (size_t bin = 0; bin < kBins; ++bin) sums_->histogram[bin] += by_thread[1].histogram[bin];
  }

  static inline Sums* sums_ = nullptr;
};

// E z^k = (k - 1)!! for even k, else 0; the mean of n powers has variance (E z^2k - (E z^k)^2) / n. The cut tail
// (P(|z| > 6.555) = 6e-11) takes 5e-6 from the sixth moment, whose standard error is 6e-3.
TEST_F(GaussianStatistics, MomentsToOrderSix) {
  constexpr double kExpected[2 * kMoments + 1] = {1, 0, 1, 0, 3, 0, 15, 0, 105, 0, 945, 0, 10395};
  for (int k = 1; k <= kMoments; ++k) {
    const double error = std::sqrt((kExpected[2 * k] - kExpected[k] * kExpected[k]) / kDraws);
    EXPECT_NEAR(total(sums_->powers[static_cast<size_t>(k)]) / kDraws, kExpected[k], 5 * error) << "moment " << k;
  }
}

// z z' has variance 1 and (z^2 - 1)(z'^2 - 1) variance 4. Lag 1 holds the two normals of one radius.
TEST_F(GaussianStatistics, NeighboursAreUncorrelated) {
  for (size_t lag = 1; lag <= kLags; ++lag) {
    EXPECT_NEAR(total(sums_->products[lag]) / kDraws, 0, 5 * std::sqrt(1 / kDraws)) << "lag " << lag;
    EXPECT_NEAR(total(sums_->square_products[lag]) / kDraws, 0, 5 * std::sqrt(4 / kDraws)) << "lag " << lag;
  }
}

// The largest distance between distribution functions at 8,192 places, which bounds the Kolmogorov-Smirnov statistic D
// from below by less than a bin's 8e-4 of probability times its sampling error. P(D sqrt(n) > c) = 2 exp(-2 c^2): one
// in a million at c = 2.69.
TEST_F(GaussianStatistics, DistributionFunctionIsNormal) {
  double below = 0;
  double distance = 0;
  for (size_t bin = 0; bin < kBins; ++bin) {
    below += static_cast<double>(sums_->histogram[bin]);
    const double edge = static_cast<double>(bin + 1) / kBinsPerUnit - 8;
    distance = std::max(distance, std::abs(below / kDraws - normal_cdf(edge)));
  }
  EXPECT_EQ(below, kDraws);
  EXPECT_LT(distance * std::sqrt(kDraws), std::sqrt(std::log(2e6) / 2));
}

// Pearson's statistic over the bins that expect 50 draws or more has mean df and variance 2 df (and a little more).
TEST_F(GaussianStatistics, BinsHoldTheirShare) {
  double statistic = 0;
  int bins = 0;
  for (size_t bin = 0; bin < kBins; ++bin) {
    const double from = static_cast<double>(bin) / kBinsPerUnit - 8;
    // By symmetry in the lower tail, where the difference of distribution functions keeps its digits.
    const double low = -std::max(std::abs(from), std::abs(from + 1.0 / kBinsPerUnit));
    const double expected = kDraws * (normal_cdf(low + 1.0 / kBinsPerUnit) - normal_cdf(low));
    if (expected < 50) continue;
    const double difference = static_cast<double>(sums_->histogram[bin]) - expected;
    statistic += difference * difference / expected;
    ++bins;
  }
  EXPECT_GT(bins, 4000);
  EXPECT_NEAR(statistic, bins, 5 * std::sqrt(2.0 * bins));
}

// One draw in 1.3e10 lies beyond 6.5, one in 5e8 beyond 6: 2^28 draws reach beyond 5.5 (10 expected).
TEST_F(GaussianStatistics, TailsAreThere) {
  int64_t beyond = 0;
  for (size_t bin = 0; bin < kBins; ++bin) {
    const double from = static_cast<double>(bin) / kBinsPerUnit - 8;
    if (from >= 5.5 || from + 1.0 / kBinsPerUnit <= -5.5) beyond += sums_->histogram[bin];
  }
  EXPECT_NEAR(static_cast<double>(beyond), kDraws * 2 * normal_cdf(-5.5), 5 * std::sqrt(kDraws * 2 * normal_cdf(-5.5)));
}

// Streams that differ in one field of their key, as (key of stream t) for t = 0, 1, ...
struct Streams {
  const char* name;
  std::function<NoiseKey(uint32_t)> key;
};

const Streams kStreams[] = {
    {"consecutive seeds of the sequence", [](uint32_t t) { return NoiseKey{.seed = seed_at(42, t)}; }},
    {"consecutive integers as seeds", [](uint32_t t) { return NoiseKey{.seed = t}; }},
    {"seeds apart by 2^32", [](uint32_t t) { return NoiseKey{.seed = uint64_t{t} << 32}; }},
    {"parameter ids", [](uint32_t t) { return NoiseKey{.seed = 42, .parameter_id = t}; }},
    {"pairs", [](uint32_t t) { return NoiseKey{.seed = 42, .pair = t}; }},
    {"steps", [](uint32_t t) { return NoiseKey{.seed = 42, .step = t}; }},
    {"purposes",
     [](uint32_t t) { return NoiseKey{.seed = 42, .purpose = static_cast<Purpose>(t % 4), .pair = t / 4}; }},
};

// Sums of z z' (variance 1 each) and (z^2 - 1)(z'^2 - 1) (variance 4 each) over 512 streams and their neighbours.
TEST(Streams, NeighbouringKeysAreUncorrelated) {
  constexpr int64_t kCount = 512;
  for (Distribution distribution : {Distribution::gaussian, Distribution::rademacher}) {
    for (const Streams& streams : kStreams) {
      std::array<Sum, 2> products{}, squares{};
      on_two_threads(kCount, [&](int64_t t, int thread) {
        thread_local std::vector<float> z(kChunk), other(kChunk);
        fill_noise(distribution, streams.key(static_cast<uint32_t>(t)), 0, z);
        fill_noise(distribution, streams.key(static_cast<uint32_t>(t) + 1), 0, other);
        Sum product{}, square{};
        for (size_t i = 0; i < kChunk; i += kLanes) {
          for (size_t lane = 0; lane < kLanes; ++lane) {
            const double a = z[i + lane];
            const double b = other[i + lane];
            product[lane] += a * b;
            square[lane] += (a * a - 1) * (b * b - 1);
          }
        }
        products[static_cast<size_t>(thread)][0] += total(product);
        squares[static_cast<size_t>(thread)][0] += total(square);
      });
      const double draws = static_cast<double>(kCount * kChunk);
      EXPECT_NEAR((total(products[0]) + total(products[1])) / draws, 0, 5 / std::sqrt(draws))
          << distribution_name(distribution) << ", " << streams.name;
      EXPECT_NEAR((total(squares[0]) + total(squares[1])) / draws, 0, 10 / std::sqrt(draws))
          << distribution_name(distribution) << ", " << streams.name;
    }
  }
}

// The mean of n signs, and of n products of signs, has standard error 1 / sqrt(n).
TEST(RademacherStatistics, SignsAreBalancedAndUncorrelated) {
  constexpr int64_t kDraws = 1 << 27;
  constexpr std::array<int64_t, 13> kDistances = {0, 1, 2, 3, 4, 5, 6, 7, 8, 32, 64, 128, 512};  // 0: the mean
  std::array<std::array<int64_t, kDistances.size()>, 2> sums{};
  on_two_threads(kDraws / kChunk, [&](int64_t chunk, int thread) {
    thread_local std::vector<float> z(kChunk + kDistances.back());
    fill_noise(Distribution::rademacher, {.seed = 31337}, chunk * kChunk, z);
    for (size_t d = 0; d < kDistances.size(); ++d) {
      int32_t sum = 0;
      for (int64_t i = 0; i < kChunk; ++i) {
        const auto sign = static_cast<int32_t>(z[static_cast<size_t>(i)]);
        sum += d == 0 ? sign : sign * static_cast<int32_t>(z[static_cast<size_t>(i + kDistances[d])]);
      }
      sums[static_cast<size_t>(thread)][d] += sum;
    }
  });
  for (size_t d = 0; d < kDistances.size(); ++d) {
    EXPECT_LT(std::abs(static_cast<double>(sums[0][d] + sums[1][d])), 5 * std::sqrt(static_cast<double>(kDraws)))
        << "distance " << kDistances[d];
  }
}

// Each of the 32 bits of a word is set in half of n words, with standard error sqrt(n) / 2.
TEST(BitStatistics, EveryBitIsFair) {
  std::vector<uint32_t> bits(1 << 22);
  fill_bits({.seed = 9, .purpose = Purpose::rounding, .step = 100}, 0, bits);
  for (uint32_t bit = 0; bit < 32; ++bit) {
    int64_t ones = 0;
    for (uint32_t word : bits) ones += word >> bit & 1;
    EXPECT_LT(std::abs(static_cast<double>(ones) - 0x1p21), 5 * 0x1p11 / 2) << "bit " << bit;
  }
}

}  // namespace
}  // namespace zo2

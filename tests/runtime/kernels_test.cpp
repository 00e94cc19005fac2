// The CPU kernels against float64. Tolerances are bounds on the rounding of the float32 arithmetic, with u = 2^-24.
#include "runtime/cpu/kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "base/convert.h"
#include "program/testing.h"

namespace zo2::cpu {
namespace {

using namespace zo2::testing;

constexpr double kU = 0x1p-24;
constexpr DType kDTypes[] = {DType::f32, DType::f16, DType::bf16};
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// Half an ulp of the dtype relative to the value, and its least subnormal.
double rounding_error(DType dtype, double value) {
  if (dtype == DType::f32) return kU * std::fabs(value);
  return dtype == DType::f16 ? 0x1p-11 * std::fabs(value) + 0x1p-25 : 0x1p-8 * std::fabs(value);
}

std::vector<std::byte> encode(DType dtype, const std::vector<float>& values) {
  std::vector<std::byte> bytes(values.size() * static_cast<size_t>(dtype_bytes(dtype)));
  from_float(dtype, values, bytes.data());
  return bytes;
}

std::vector<float> decode(DType dtype, const std::vector<std::byte>& bytes) {
  std::vector<float> values(bytes.size() / static_cast<size_t>(dtype_bytes(dtype)));
  to_float(dtype, bytes.data(), values);
  return values;
}

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  // Values that the dtype holds exactly.
  std::vector<float> normals(DType dtype, int64_t count, float mean, float spread) {
    std::normal_distribution<float> normal(mean, spread);
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) value = round_to(dtype, normal(engine_));
    return values;
  }

 private:
  std::mt19937_64 engine_;
};

TEST(LayerNorm, IsWithinTheRoundingOfFloat32) {
  const uint64_t seed = random_seed();
  SCOPED_TRACE(seed);
  Random random(seed);
  constexpr int64_t kRows = 5;
  for (DType dtype : kDTypes) {
    for (int64_t cols : {1, 7, 16, 64, 333, 2048}) {
      // The last has a variance of the size of the epsilon.
      for (auto [mean, spread] : {std::pair{0.0f, 2.0f}, {50.0f, 2.0f}, {0.0f, 0.003f}}) {
        const std::vector<float> in = random.normals(dtype, kRows * cols, mean, spread);
        const std::vector<float> gamma = random.normals(dtype, cols, 1.0f, 0.5f);
        const std::vector<float> beta = random.normals(dtype, cols, 0.0f, 0.5f);
        std::vector<std::byte> out = encode(dtype, in);
        layer_norm(dtype, out.data(), encode(dtype, gamma).data(), encode(dtype, beta).data(), out.data(), cols, 0,
                   kRows);  // in place
        const std::vector<float> found = decode(dtype, out);
        const auto n = static_cast<double>(cols);
        const double adds = n / 16 + 6;  // in a row: 16 lanes, then four levels, then the division
        for (int64_t row = 0; row < kRows; ++row) {
          const float* x = &in[static_cast<size_t>(row * cols)];
          double exact_mean = 0, magnitude = 0, variance = 0;
          for (int64_t i = 0; i < cols; ++i) exact_mean += static_cast<double>(x[i]) / n;
          for (int64_t i = 0; i < cols; ++i) magnitude += std::fabs(static_cast<double>(x[i])) / n;
          for (int64_t i = 0; i < cols; ++i) variance += std::pow(static_cast<double>(x[i]) - exact_mean, 2) / n;
          const double scale = 1 / std::sqrt(variance + 1e-5);
          const double mean_error = adds * kU * magnitude;
          // A wrong mean adds its square to the variance; squares and their sum round.
          const double variance_error = (adds + 4) * kU * variance + mean_error * mean_error;
          const double scale_error = variance_error / (variance + 1e-5) / 2 + 4 * kU;
          for (int64_t i = 0; i < cols; ++i) {
            const auto at = static_cast<size_t>(i);
            const double g = static_cast<double>(gamma[at]);
            const double centred = static_cast<double>(x[i]) - exact_mean;
            const double expected = centred * scale * g + static_cast<double>(beta[at]);
            const double error = std::fabs(g) * scale * (mean_error + std::fabs(centred) * (scale_error + 2 * kU));
            ASSERT_NEAR(static_cast<double>(found[static_cast<size_t>(row * cols + i)]), expected,
                        1.01 * (error + rounding_error(dtype, expected)) + rounding_error(dtype, error))
                << dtype_name(dtype) << " " << cols << " columns, mean " << mean;
          }
        }
      }
    }
  }
}

TEST(LayerNorm, ConstantRowsGiveBetaAndOtherRowsStay) {
  const std::vector<float> ones(32, 1.0f);
  const std::vector<float> beta(32, 0.25f);
  std::vector<std::byte> data = encode(DType::f32, std::vector<float>(96, 3.0f));
  layer_norm(DType::f32, data.data(), encode(DType::f32, ones).data(), encode(DType::f32, beta).data(), data.data(), 32,
             1, 2);
  const std::vector<float> found = decode(DType::f32, data);
  for (size_t i = 0; i < 96; ++i) EXPECT_EQ(found[i], i / 32 == 1 ? 0.25f : 3.0f);
}

TEST(AddBias, IsTheRoundedSumInsideThePanelOnly) {
  Random random(11);
  for (DType dtype : kDTypes) {
    for (bool relu : {false, true}) {
      constexpr int64_t kRows = 6, kStride = 50, kCols = 19, kFirst = 8;
      const std::vector<float> in = random.normals(dtype, kRows * kStride, 0, 1);
      const std::vector<float> bias = random.normals(dtype, kCols, 0, 1);
      std::vector<std::byte> data = encode(dtype, in);
      add_bias(dtype, data.data() + kFirst * dtype_bytes(dtype), encode(dtype, bias).data(), relu, kCols, kStride, 1,
               5);
      const std::vector<float> found = decode(dtype, data);
      for (int64_t row = 0; row < kRows; ++row) {
        for (int64_t col = 0; col < kStride; ++col) {
          const auto at = static_cast<size_t>(row * kStride + col);
          float expected = in[at];
          if (row >= 1 && row < 5 && col >= kFirst && col < kFirst + kCols) {
            expected = round_to(dtype, in[at] + bias[static_cast<size_t>(col - kFirst)]);
            if (relu) expected = std::max(expected, 0.0f);
          }
          EXPECT_EQ(found[at], expected) << row << " " << col;
        }
      }
    }
  }
}

TEST(AddBias, NaNAndInfinityPassThrough) {
  std::vector<std::byte> data = encode(DType::f32, {kNaN, kInf, -kInf});
  add_bias(DType::f32, data.data(), encode(DType::f32, {1, 1, 1}).data(), true, 3, 3, 0, 1);
  const std::vector<float> found = decode(DType::f32, data);
  EXPECT_TRUE(std::isnan(found[0]));
  EXPECT_EQ(found[1], kInf);
  EXPECT_EQ(found[2], 0.0f);
}

TEST(AddRows, IsTheRoundedSum) {
  Random random(12);
  for (DType dtype : kDTypes) {
    const std::vector<float> a = random.normals(dtype, 1000, 0, 1);
    const std::vector<float> b = random.normals(dtype, 1000, 0, 1);
    std::vector<std::byte> data = encode(dtype, a);
    add_rows(dtype, data.data(), encode(dtype, b).data(), 1000);
    const std::vector<float> found = decode(dtype, data);
    for (size_t i = 0; i < 1000; ++i) EXPECT_EQ(found[i], round_to(dtype, a[i] + b[i]));
  }
}

// Log-probabilities of rows over a vocabulary that comes in tiles, as the head makes them.
struct Head {
  std::vector<float> logprobs;
  double total = 0;
};
Head run_head(const std::vector<float>& logits, const std::vector<int32_t>& targets, int64_t vocab, int64_t tile_rows) {
  const auto rows = static_cast<int64_t>(targets.size());
  std::vector<float> state(static_cast<size_t>(3 * rows), -12345.0f);  // left over from the pass before
  const LogSumExp view{state.data(), state.data() + rows, state.data() + 2 * rows};
  for (int64_t first = 0; first < vocab; first += tile_rows) {
    const int64_t count = std::min(tile_rows, vocab - first);
    std::vector<float> tile;
    for (int64_t row = 0; row < rows; ++row) {
      const auto begin = logits.begin() + row * vocab + first;
      tile.insert(tile.end(), begin, begin + count);
    }
    update_log_sum_exp(tile.data(), targets.data(), first, count, first == 0, view, 0, rows / 2);  // as two threads do
    update_log_sum_exp(tile.data(), targets.data(), first, count, first == 0, view, rows / 2, rows);
  }
  Head result;
  result.logprobs.resize(targets.size());
  result.total = finish_log_probabilities(view, rows, result.logprobs.data());
  return result;
}

TEST(LogSumExp, IsWithinTheRoundingOfFloat32) {
  const uint64_t seed = random_seed();
  SCOPED_TRACE(seed);
  Random random(seed);
  constexpr int64_t kRows = 7, kVocab = 1000;
  std::vector<int32_t> targets;
  for (int32_t row = 0; row < kRows; ++row) targets.push_back(row == 0 ? 0 : row == 1 ? kVocab - 1 : 149 * row);
  for (float spread : {0.1f, 3.0f, 40.0f}) {
    for (float mean : {0.0f, -3e4f, 1e4f}) {
      for (int64_t tile_rows : {1, 17, 256, 1000}) {
        const std::vector<float> logits = random.normals(DType::f32, kRows * kVocab, mean, spread);
        const Head head = run_head(logits, targets, kVocab, tile_rows);
        double total = 0;
        double error_of_total = 0;
        for (size_t row = 0; row < kRows; ++row) {
          const float* x = &logits[row * kVocab];
          const auto maximum = static_cast<double>(*std::max_element(x, x + kVocab));
          double sum = 0, distances = 0;
          for (int64_t i = 0; i < kVocab; ++i) {
            const double distance = maximum - static_cast<double>(x[i]);
            sum += std::exp(-distance);
            distances += std::exp(-distance) * distance;
          }
          const double expected = static_cast<double>(x[targets[row]]) - (maximum + std::log(sum));
          // Each exponential: its rounded argument (the distance, weighted) and 4 u. A tile: its sum. Between tiles:
          // the old sum times another exponential, and an addition; the distances to the maxima on the way add up to at
          // most the distance to the last.
          const auto tiles = static_cast<double>((kVocab + tile_rows - 1) / tile_rows);
          const double relative = kU * (2 * distances / sum + 4 + static_cast<double>(tile_rows) / 16 + 5 + 6 * tiles);
          // exp(x) is taken as 0 below x = -87.
          const double error = relative + kVocab * std::exp(-87.0) + kU * std::fabs(expected);
          ASSERT_NEAR(static_cast<double>(head.logprobs[row]), expected, error)
              << "spread " << spread << ", mean " << mean << ", tiles of " << tile_rows;
          total -= expected;
          error_of_total += error;
        }
        EXPECT_NEAR(head.total, total, error_of_total);
      }
    }
  }
}

TEST(LogSumExp, TheTotalIsSummedInFloat64) {
  const int32_t rows = 1000;
  std::vector<float> logits;
  std::vector<int32_t> targets;
  Random random(5);
  for (int32_t row = 0; row < rows; ++row) targets.push_back(row % 2);
  logits = random.normals(DType::f32, rows * 2, 0, 1);
  const Head head = run_head(logits, targets, 2, 2);
  double total = 0;
  for (float logprob : head.logprobs) total -= static_cast<double>(logprob);
  EXPECT_NEAR(head.total, total, kU * total);
  EXPECT_NE(static_cast<float>(head.total), std::accumulate(head.logprobs.begin(), head.logprobs.end(), 0.0f));
}

TEST(LogSumExp, LargeNegativeLogitsGiveFiniteLosses) {
  // One likely word, all others hopeless; and all equally hopeless.
  std::vector<float> logits(20, -1e30f);
  logits[3] = 0;
  std::fill(logits.begin() + 10, logits.end(), -3e38f);
  const Head head = run_head(logits, {3, 7}, 10, 4);
  EXPECT_EQ(head.logprobs[0], 0.0f);
  EXPECT_NEAR(head.logprobs[1], -std::log(10.0f), 1e-6f * 3e38f);
  const Head unlikely = run_head(logits, {5, 0}, 10, 4);
  EXPECT_EQ(unlikely.logprobs[0], -1e30f);
}

TEST(LogSumExp, NaNAndInfinityAnywhereGiveNaNInThatRowOnly) {
  Random random(9);
  constexpr int64_t kVocab = 40;
  const std::vector<float> good = random.normals(DType::f32, 2 * kVocab, 0, 1);
  const Head sound = run_head(good, {4, 30}, kVocab, 16);
  for (float bad : {kNaN, kInf}) {
    for (int64_t at = 0; at < kVocab; ++at) {
      for (int64_t tile_rows : {1, 16, 40}) {
        std::vector<float> logits = good;
        logits[static_cast<size_t>(at)] = bad;
        const Head head = run_head(logits, {4, 30}, kVocab, tile_rows);
        EXPECT_TRUE(std::isnan(head.logprobs[0])) << bad << " at " << at << ", tiles of " << tile_rows;
        EXPECT_NEAR(head.logprobs[1], sound.logprobs[1], 1e-5f);
        EXPECT_TRUE(std::isnan(head.total));
      }
    }
  }
}

TEST(LogSumExp, MinusInfinityIsAnImpossibleWord) {
  const Head head = run_head({1, -kInf, 1, 1, 1, -kInf}, {0, 2}, 3, 2);
  EXPECT_NEAR(head.logprobs[0], -std::log(2.0f), 1e-6f);
  EXPECT_EQ(head.logprobs[1], -kInf);
  EXPECT_EQ(head.total, std::numeric_limits<double>::infinity());
}

TEST(ArgMax, OverTilesIsTheFirstOfTheGreatestAsInTorch) {
  const std::vector<std::vector<float>> rows{{1, 3, 2, 3, 0, 3},
                                             {-2, -1, -4, -1, -1, -1},
                                             {0, 0, 0, 0, 0, 0},
                                             {5, 4, 3, 2, 1, 6},
                                             {-kInf, -kInf, -kInf, -kInf, -3, -kInf},
                                             {1, 2, kNaN, 9, kNaN, 3},
                                             {kNaN, 1, 2, 3, 4, 5},
                                             {1, 2, 3, 4, kInf, kNaN}};
  const std::vector<int32_t> expected{1, 1, 0, 5, 4, 2, 0, 5};
  for (int64_t tile : {1, 2, 4, 6}) {
    std::vector<int32_t> index(rows.size(), -1);
    std::vector<float> best(rows.size(), kNaN);
    for (int64_t first = 0; first < 6; first += tile) {
      const int64_t count = std::min<int64_t>(tile, 6 - first);
      std::vector<float> logits;
      for (const auto& row : rows) logits.insert(logits.end(), row.begin() + first, row.begin() + first + count);
      update_arg_max(logits.data(), first, count, first == 0, {index.data(), best.data()}, 0,
                     static_cast<int64_t>(rows.size()));
    }
    EXPECT_EQ(index, expected) << "tiles of " << tile;
  }
}

TEST(Attend, IsWithinTheRoundingOfFloat32) {
  const uint64_t seed = random_seed();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  for (DType dtype : kDTypes) {
    for (const auto& [head_dim, count] : {std::pair<int64_t, int64_t>{64, 200}, {24, 1}, {7, 33}}) {
      SCOPED_TRACE(fmt::format("{} head_dim {} count {}", dtype_name(dtype), head_dim, count));
      const int64_t stride = 3 * head_dim;  // the second of three heads
      const auto draw = [&](int64_t size) {
        std::vector<float> values(static_cast<size_t>(size));
        for (float& value : values) value = normal(random);
        const auto bytes = encode(dtype, values);
        return std::pair{bytes, decode(dtype, bytes)};
      };
      const auto [q_bytes, q] = draw(head_dim);
      const auto [k_bytes, k] = draw(count * stride);
      const auto [v_bytes, v] = draw(count * stride);
      const int64_t head = head_dim * dtype_bytes(dtype);
      std::vector<std::byte> out(static_cast<size_t>(head));
      attend(dtype, q_bytes.data(), k_bytes.data() + head, v_bytes.data() + head, out.data(), head_dim, stride, count);
      const std::vector<float> got = decode(dtype, out);
      std::vector<double> scores;
      double largest_score = 0;
      for (int64_t i = 0; i < count; ++i) {
        double score = 0;
        double size = 0;
        for (int64_t c = 0; c < head_dim; ++c) {
          const double term = static_cast<double>(q[c]) * k[i * stride + head_dim + c];
          score += term;
          size += std::fabs(term);
        }
        scores.push_back(score / std::sqrt(static_cast<double>(head_dim)));
        largest_score = std::max(largest_score, size / std::sqrt(static_cast<double>(head_dim)));
      }
      const double maximum = *std::max_element(scores.begin(), scores.end());
      double total = 0;
      for (double& score : scores) total += score = std::exp(score - maximum);
      for (int64_t c = 0; c < head_dim; ++c) {
        double value = 0;
        double size = 0;
        for (int64_t i = 0; i < count; ++i) {
          value += scores[i] / total * v[i * stride + head_dim + c];
          size += scores[i] / total * std::fabs(v[i * stride + head_dim + c]);
        }
        // A score's error, head_dim / 16 + 8 roundings of its terms, is a relative one of its weight, and twice for the
        // total; then the sums over `count` positions.
        const double weight_error = (static_cast<double>(head_dim) / 16 + 8) * kU * largest_score + 4 * kU;
        const double tolerance =
            (2 * weight_error + 2 * static_cast<double>(count) * kU) * size + rounding_error(dtype, value);
        ASSERT_NEAR(got[c], value, tolerance) << c;
      }
    }
  }
}

}  // namespace
}  // namespace zo2::cpu

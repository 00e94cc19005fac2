#include "runtime/cpu/kernels.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "base/convert.h"

namespace zo2::cpu {
namespace {

constexpr int kLanes = 16;  // fixed, so that sums have the same order on every machine
constexpr float kLayerNormEps = 1e-5f;

std::span<float> scratch(int which, int64_t size) {
  thread_local std::vector<float> buffers[4];
  auto& buffer = buffers[which];
  if (static_cast<int64_t>(buffer.size()) < size) buffer.resize(static_cast<size_t>(size));
  return {buffer.data(), static_cast<size_t>(size)};
}

template <typename Term>
float sum_over(int64_t count, Term term) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += term(i + lane);
  }
  for (; i < count; ++i) lanes[i % kLanes] += term(i);
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int lane = 0; lane < width; ++lane) lanes[lane] += lanes[lane + width];
  }
  return lanes[0];
}

// exp(x) for x <= 0 to about 1 ulp, without branches so that loops vectorise: 2^n * p(r), r = x - n ln 2, with the
// Taylor polynomial of degree 7 on |r| <= ln(2) / 2 (its remainder is below 5e-9).
inline float exp_not_positive(float x) {
  const float clamped = std::max(x, -87.0f);
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const float shifted = std::fma(clamped, 1.44269504f, kRound);
  const float n = shifted - kRound;
  float r = std::fma(n, -0.693359375f, clamped);  // ln 2 in two parts
  r = std::fma(n, 2.12194440e-4f, r);
  float p = 1.0f / 5040;
  p = std::fma(p, r, 1.0f / 720);
  p = std::fma(p, r, 1.0f / 120);
  p = std::fma(p, r, 1.0f / 24);
  p = std::fma(p, r, 1.0f / 6);
  p = std::fma(p, r, 0.5f);
  p = std::fma(p, r, 1.0f);
  p = std::fma(p, r, 1.0f);
  // The low bits of `shifted` are n.
  const uint32_t exponent = std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(kRound) + 127u;
  const float result = p * std::bit_cast<float>(exponent << 23);
  return x < -87.0f ? 0.0f : result;
}

float maximum_of(const float* x, int64_t count) {
  float lanes[kLanes];
  std::fill(lanes, lanes + kLanes, -std::numeric_limits<float>::infinity());
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = x[i + lane] > lanes[lane] ? x[i + lane] : lanes[lane];
  }
  for (; i < count; ++i) lanes[0] = std::max(lanes[0], x[i]);
  return *std::max_element(lanes, lanes + kLanes);
}

// The sum of exp(x - maximum). A NaN or an infinity among x makes it NaN.
float sum_of_exp(const float* x, int64_t count, float maximum) {
  constexpr int64_t kBlock = 512;
  float block[kBlock];
  float total = 0;
  for (int64_t first = 0; first < count; first += kBlock) {
    const int64_t size = std::min(kBlock, count - first);
    for (int64_t i = 0; i < size; ++i) block[i] = exp_not_positive(x[first + i] - maximum);
    total += sum_over(size, [&](int64_t i) { return block[i]; });
  }
  return total;
}

}  // namespace

void layer_norm(DType dtype, const std::byte* in, const std::byte* gamma, const std::byte* beta, std::byte* out,
                int64_t cols, int64_t first, int64_t last) {
  const int64_t row_bytes = cols * dtype_bytes(dtype);
  const std::span<float> x = scratch(0, cols);
  const std::span<float> g = scratch(1, cols);
  const std::span<float> b = scratch(2, cols);
  to_float(dtype, gamma, g);
  to_float(dtype, beta, b);
  for (int64_t row = first; row < last; ++row) {
    to_float(dtype, in + row * row_bytes, x);
    const float mean = sum_over(cols, [&](int64_t i) { return x[i]; }) / static_cast<float>(cols);
    const float variance =
        sum_over(cols, [&](int64_t i) { return (x[i] - mean) * (x[i] - mean); }) / static_cast<float>(cols);
    const float scale = 1.0f / std::sqrt(variance + kLayerNormEps);
    for (int64_t i = 0; i < cols; ++i) x[i] = std::fma((x[i] - mean) * scale, g[i], b[i]);
    from_float(dtype, x, out + row * row_bytes);
  }
}

void add_bias(DType dtype, std::byte* panel, const std::byte* bias, bool relu, int64_t cols, int64_t stride,
              int64_t first, int64_t last) {
  const std::span<float> x = scratch(0, cols);
  const std::span<float> b = scratch(1, cols);
  to_float(dtype, bias, b);
  const float floor = relu ? 0.0f : -std::numeric_limits<float>::infinity();
  for (int64_t row = first; row < last; ++row) {
    std::byte* data = panel + row * stride * dtype_bytes(dtype);
    to_float(dtype, data, x);
    for (int64_t i = 0; i < cols; ++i) {
      const float value = x[i] + b[i];
      x[i] = value < floor ? floor : value;  // NaN passes through
    }
    from_float(dtype, x, data);
  }
}

void add_rows(DType dtype, std::byte* a, const std::byte* b, int64_t count) {
  const std::span<float> x = scratch(0, count);
  const std::span<float> y = scratch(1, count);
  to_float(dtype, a, x);
  to_float(dtype, b, y);
  for (int64_t i = 0; i < count; ++i) x[i] += y[i];
  from_float(dtype, x, a);
}

void update_log_sum_exp(const float* logits, const int32_t* targets, int64_t vocab_first, int64_t vocab_rows,
                        bool fresh, const LogSumExp& state, int64_t first, int64_t last) {
  for (int64_t row = first; row < last; ++row) {
    const float* x = logits + row * vocab_rows;
    const float before = fresh ? -std::numeric_limits<float>::infinity() : state.maximum[row];
    const float maximum = std::max(before, maximum_of(x, vocab_rows));
    float sum = sum_of_exp(x, vocab_rows, maximum);
    if (!fresh) sum += state.sum[row] * exp_not_positive(before - maximum);
    state.maximum[row] = maximum;
    state.sum[row] = sum;
    const int64_t target = targets[row] - vocab_first;
    if (target >= 0 && target < vocab_rows) state.target[row] = x[target];
  }
}

void update_arg_max(const float* logits, int64_t vocab_first, int64_t vocab_rows, bool fresh, const ArgMax& state,
                    int64_t first, int64_t last) {
  for (int64_t row = first; row < last; ++row) {
    const float* x = logits + row * vocab_rows;
    float best = fresh ? x[0] : state.best[row];
    int64_t index = fresh ? vocab_first : state.index[row];
    for (int64_t i = 0; i < vocab_rows && !std::isnan(best); ++i) {
      if (x[i] <= best) continue;  // not for a NaN
      best = x[i];
      index = vocab_first + i;
    }
    state.best[row] = best;
    state.index[row] = static_cast<int32_t>(index);
  }
}

void attend(DType dtype, const std::byte* q, const std::byte* keys, const std::byte* values, std::byte* out,
            int64_t head_dim, int64_t stride, int64_t count) {
  const int64_t stride_bytes = stride * dtype_bytes(dtype);
  const std::span<float> query = scratch(0, head_dim);
  const std::span<float> row = scratch(1, head_dim);
  const std::span<float> sum = scratch(2, head_dim);
  const std::span<float> scores = scratch(3, count);
  to_float(dtype, q, query);
  const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
  for (int64_t i = 0; i < count; ++i) {
    to_float(dtype, keys + i * stride_bytes, row);
    scores[i] = scale * sum_over(head_dim, [&](int64_t c) { return query[c] * row[c]; });
  }
  const float maximum = maximum_of(scores.data(), count);
  std::fill(sum.begin(), sum.end(), 0.0f);
  float total = 0;
  for (int64_t i = 0; i < count; ++i) {
    const float weight = exp_not_positive(scores[i] - maximum);
    total += weight;
    to_float(dtype, values + i * stride_bytes, row);
    for (int64_t c = 0; c < head_dim; ++c) sum[c] = std::fma(weight, row[c], sum[c]);
  }
  for (float& value : sum) value /= total;
  from_float(dtype, sum, out);
}

double finish_log_probabilities(const LogSumExp& state, int64_t rows, float* logprobs) {
  double total = 0;
  for (int64_t row = 0; row < rows; ++row) {
    const double value = static_cast<double>(state.target[row]) -
                         (static_cast<double>(state.maximum[row]) + std::log(static_cast<double>(state.sum[row])));
    logprobs[row] = static_cast<float>(value);
    total -= value;
  }
  return total;
}

}  // namespace zo2::cpu

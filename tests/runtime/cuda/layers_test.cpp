// The device's row-wise kernels and products against float64 or the CPU's kernels. Tolerances bound the rounding of
// float32 arithmetic, with u = 2^-24, and one rounding to the dtype.
#include "runtime/cuda/layers.h"

#include <fmt/format.h>

#include <cmath>

#include "runtime/cpu/linalg.h"
#include "runtime/cuda/attention.h"
#include "runtime/cuda/gemm.h"
#include "runtime/cuda/testing.h"

namespace zo2 {
namespace {

using namespace zo2::testing;

using CudaLayers = CudaTest;

constexpr double kU = 0x1p-24;

double rounding_error(DType dtype, double value) {
  if (dtype == DType::f32) return kU * std::fabs(value);
  return dtype == DType::f16 ? 0x1p-11 * std::fabs(value) + 0x1p-25 : 0x1p-8 * std::fabs(value);
}

TEST_F(CudaLayers, LayerNormIsWithinRoundingOfFloat64) {
  for (DType dtype : kAllDTypes) {
    // Vectors lie packed: also at odd places.
    for (const auto& [cols, place] :
         {std::pair<int64_t, int64_t>{64, 0}, {64, 1}, {35, 1}, {320, 0}, {5120, 0}, {12288, 0}}) {
      SCOPED_TRACE(fmt::format("{} cols {} vectors at {}", dtype_name(dtype), cols, place));
      constexpr int64_t kRows = 3;
      const auto in = random_elements(dtype, kRows * cols, 1, 2.0f);
      const auto gamma = random_elements(dtype, cols, 2, 1.0f);
      const auto beta = random_elements(dtype, cols, 3, 1.0f);
      const OnDevice device_in(in);
      const OnDevice device_gamma(gamma, place * dtype_bytes(dtype));
      const OnDevice device_beta(beta, 3 * place * dtype_bytes(dtype));
      cuda::layer_norm(dtype, device_in.data(), device_gamma.data(), device_beta.data(), device_in.data(), kRows, cols,
                       nullptr);
      const std::vector<float> out = floats_of(dtype, device_in.read());
      const std::vector<float> x = floats_of(dtype, in);
      const std::vector<float> g = floats_of(dtype, gamma);
      const std::vector<float> b = floats_of(dtype, beta);
      for (int64_t row = 0; row < kRows; ++row) {
        double mean = 0;
        double squares = 0;
        for (int64_t c = 0; c < cols; ++c) mean += x[row * cols + c];
        mean /= static_cast<double>(cols);
        for (int64_t c = 0; c < cols; ++c) squares += std::pow(x[row * cols + c] - mean, 2);
        const double scale = 1 / std::sqrt(squares / static_cast<double>(cols) + 1e-5);
        for (int64_t c = 0; c < cols; ++c) {
          const double normal = (x[row * cols + c] - mean) * scale;
          const double expected = normal * g[c] + b[c];
          // Sums in trees of depth about 8 + cols / 256; a dozen operations each with error u.
          const double steps = 16 + 2 * std::ceil(static_cast<double>(cols) / 256);
          const double tolerance = steps * kU * (std::fabs(normal * g[c]) + std::fabs(b[c]) + std::fabs(g[c])) +
                                   rounding_error(dtype, expected);
          ASSERT_NEAR(out[row * cols + c], expected, tolerance) << row << " " << c;
        }
      }
    }
  }
}

TEST_F(CudaLayers, LogSumExpOverTilesEqualsFloat64) {
  constexpr int64_t kRows = 5;
  constexpr int64_t kVocab = 1000;
  const std::vector<float> logits = floats_of(DType::f32, random_elements(DType::f32, kRows * kVocab, 1, 8.0f));
  const std::vector<int32_t> targets{0, 999, 400, 399, 512};
  const OnDevice device_targets(bytes_of(targets));
  const OnDevice state(kRows * 3 * 4);
  auto* floats = reinterpret_cast<float*>(state.data());
  const cuda::LogSumExp running{floats, floats + kRows, floats + 2 * kRows};
  for (int64_t first = 0; first < kVocab; first += 400) {
    const int64_t count = std::min<int64_t>(400, kVocab - first);
    std::vector<float> part;
    for (int64_t row = 0; row < kRows; ++row) {
      part.insert(part.end(), logits.begin() + row * kVocab + first, logits.begin() + row * kVocab + first + count);
    }
    const OnDevice device_part(bytes_of(part));
    cuda::update_log_sum_exp(reinterpret_cast<const float*>(device_part.data()),
                             reinterpret_cast<const int32_t*>(device_targets.data()), first, count, first == 0, running,
                             kRows, nullptr);
    cuda::synchronize_device();
  }
  const OnDevice logprobs(kRows * 4);
  const OnDevice loss(bytes_of(std::vector<double>{1.5}));
  cuda::finish_log_probabilities(running, kRows, reinterpret_cast<float*>(logprobs.data()),
                                 reinterpret_cast<double*>(loss.data()), nullptr);
  const std::vector<float> got = logprobs.read_as<float>();
  double sum = 1.5;
  for (int64_t row = 0; row < kRows; ++row) {
    double total = 0;
    double most = -1e30;
    for (int64_t i = 0; i < kVocab; ++i) most = std::max(most, static_cast<double>(logits[row * kVocab + i]));
    for (int64_t i = 0; i < kVocab; ++i) total += std::exp(logits[row * kVocab + i] - most);
    const double expected = logits[row * kVocab + targets[row]] - most - std::log(total);
    EXPECT_NEAR(got[row], expected, 40 * kU * (std::fabs(most) + std::fabs(expected) + 8));
    sum -= static_cast<double>(got[row]);
  }
  EXPECT_NEAR(loss.read_as<double>()[0], sum, 1e-12 * std::fabs(sum));
}

TEST_F(CudaLayers, EntriesAreTheCpusToTheBit) {
  const double infinity = std::numeric_limits<double>::infinity();
  const std::vector<double> losses{40.123456789, 39.987654321, 12.5, 12.5, infinity, 3.0};
  const OnDevice device_losses(bytes_of(losses));
  const OnDevice ring(cuda::kRingEntries * sizeof(cuda::DeviceEntry));
  const cuda::PinnedBuffer results(3 * sizeof(cuda::EntryResult));
  cuda::EntryInput input;
  input.rule = {.learning_rate = 1e-3, .weight_decay = 0.1, .eps = static_cast<double>(1e-3f), .pairs = 3};
  input.seed = 99;
  input.terms = 11;
  input.step = 341;
  cuda::make_entries(reinterpret_cast<const double*>(device_losses.data()), input,
                     reinterpret_cast<cuda::DeviceEntry*>(ring.data()), 1023, results.as<cuda::EntryResult>(), nullptr);
  cuda::synchronize_device();
  const auto entries = ring.read_as<cuda::DeviceEntry>();
  for (uint32_t pair = 0; pair < 3; ++pair) {
    const cuda::EntryResult& result = results.as<cuda::EntryResult>()[pair];
    const cuda::DeviceEntry& entry = entries[(1023 + pair) % cuda::kRingEntries];
    const double plus = losses[2 * pair] / 11;
    const double minus = losses[2 * pair + 1] / 11;
    const EntryValues expected = entry_values(plus, minus, input.rule, pair);
    EXPECT_EQ(result.loss_plus, plus);
    EXPECT_EQ(result.loss_minus, minus);
    EXPECT_EQ(result.values.projected_gradient, expected.projected_gradient);
    EXPECT_EQ(result.values.alpha, expected.alpha);
    EXPECT_EQ(result.values.decay, expected.decay);
    EXPECT_EQ(result.values.finite, expected.finite);
    EXPECT_EQ(entry.alpha, expected.alpha);
    EXPECT_EQ(entry.decay, expected.decay);
    EXPECT_EQ(entry.seed, 99u);
    EXPECT_EQ(entry.step, 341u);
    EXPECT_EQ(entry.pair, pair);
  }
}

TEST_F(CudaLayers, ProductsWithEveryEpilogueAreWithinRoundingOfFloat64) {
  cuda::Gemm gemm;
  constexpr int64_t kRows = 9;
  constexpr int64_t kIn = 96;
  constexpr int64_t kStride = 80;
  constexpr int64_t kColumn = 16;
  constexpr int64_t kOut = 48;
  for (DType dtype : kAllDTypes) {
    const auto in = random_elements(dtype, kRows * kIn, 1, 1.0f);
    const auto weights = random_elements(dtype, kOut * kIn, 2, 0.1f);
    const auto bias = random_elements(dtype, kOut, 3, 1.0f);
    const auto before = random_elements(dtype, kRows * kStride, 4, 1.0f);
    const OnDevice device_in(in);
    const OnDevice device_weights(weights);
    const OnDevice device_bias(bias);
    const std::vector<float> x = floats_of(dtype, in);
    const std::vector<float> w = floats_of(dtype, weights);
    const std::vector<float> b = floats_of(dtype, bias);
    const std::vector<float> old = floats_of(dtype, before);
    for (int flags = 0; flags < 8; ++flags) {
      cuda::GemmShape shape{dtype, kRows, kIn, kOut, kStride, kColumn};
      shape.bias = (flags & 1) != 0;
      shape.relu = (flags & 2) != 0;
      shape.accumulate = (flags & 4) != 0;
      SCOPED_TRACE(
          fmt::format("{} bias {} relu {} accumulate {}", dtype_name(dtype), shape.bias, shape.relu, shape.accumulate));
      const OnDevice out(before);
      gemm.run(shape, device_in.data(), device_weights.data(), shape.bias ? device_bias.data() : nullptr,
               out.data() + kColumn * dtype_bytes(dtype), nullptr);
      const std::vector<float> got = floats_of(dtype, out.read());
      for (int64_t row = 0; row < kRows; ++row) {
        for (int64_t col = 0; col < kStride; ++col) {
          const int64_t o = col - kColumn;
          if (o < 0 || o >= kOut) {
            ASSERT_EQ(got[row * kStride + col], old[row * kStride + col]) << "outside of the panel";
            continue;
          }
          const double start = shape.accumulate ? old[row * kStride + col] : 0.0;
          double sum = start;
          double size = std::fabs(sum);
          for (int64_t i = 0; i < kIn; ++i) {
            const double product = static_cast<double>(x[row * kIn + i]) * w[o * kIn + i];
            sum += product;
            size += std::fabs(product);
          }
          if (shape.bias) sum += b[o];
          size += shape.bias ? std::fabs(b[o]) : 0.0;
          const double expected = shape.relu ? std::max(sum, 0.0) : sum;
          // cuBLAS may round the product before it adds what was there.
          const double product_rounding = shape.accumulate ? rounding_error(dtype, sum - start) : 0.0;
          ASSERT_NEAR(got[row * kStride + col], expected,
                      (kIn + 2) * kU * size + rounding_error(dtype, expected) + product_rounding);
        }
      }
    }
    cuda::GemmShape shape{dtype, kRows, kIn, kOut, kOut, 0};
    shape.float_out = true;
    const OnDevice logits(kRows * kOut * 4);
    gemm.run(shape, device_in.data(), device_weights.data(), nullptr, logits.data(), nullptr);
    const std::vector<float> got = logits.read_as<float>();
    for (int64_t row = 0; row < kRows; ++row) {
      for (int64_t o = 0; o < kOut; ++o) {
        double sum = 0;
        double size = 0;
        for (int64_t i = 0; i < kIn; ++i) {
          const double product = static_cast<double>(x[row * kIn + i]) * w[o * kIn + i];
          sum += product;
          size += std::fabs(product);
        }
        ASSERT_NEAR(got[row * kOut + o], sum, (kIn + 2) * kU * size);
      }
    }
  }
}

// The result of the same call in a captured graph, where LibTorch asks for memory in another order.
std::vector<std::byte> attention_in_a_graph(DType dtype, const OnDevice& q, const OnDevice& k, const OnDevice& v,
                                            int64_t region_bytes, const std::array<int64_t, 4>& shape) {
  const OnDevice region(static_cast<size_t>(region_bytes));
  cuda::Stream stream;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  ZO2_CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
  cuda::attention(dtype, q.data(), k.data(), v.data(), region.data(), region_bytes, shape[0], shape[1], shape[2],
                  shape[3], stream);
  ZO2_CUDA_CHECK(cudaStreamEndCapture(stream, &graph));
  ZO2_CUDA_CHECK(cudaGraphInstantiate(&executable, graph, 0));
  ZO2_CUDA_CHECK(cudaGraphLaunch(executable, stream));
  cuda::synchronize_device();
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(graph);
  std::vector<std::byte> got = region.read();
  got.resize(q.read().size());
  return got;
}

TEST_F(CudaLayers, AttentionStaysInItsRegionAndAgreesWithTheCpu) {
  for (DType dtype : kAllDTypes) {
    for (const auto& [batch, seq, heads, head_dim] :
         {std::array<int64_t, 4>{2, 12, 2, 16}, {1, 300, 12, 64}, {1, 77, 4, 80}}) {
      SCOPED_TRACE(fmt::format("{} {}x{} {}x{}", dtype_name(dtype), batch, seq, heads, head_dim));
      const int64_t count = batch * seq * heads * head_dim;
      const auto q = random_elements(dtype, count, 1, 1.0f);
      const auto k = random_elements(dtype, count, 2, 1.0f);
      const auto v = random_elements(dtype, count, 3, 1.0f);
      const int64_t bytes = count * dtype_bytes(dtype);
      const int64_t region_bytes = bytes + cuda::measure_attention_workspace(dtype, batch, seq, heads, head_dim);
      const OnDevice device_q(q);
      const OnDevice device_k(k);
      const OnDevice device_v(v);
      const OnDevice region(static_cast<size_t>(region_bytes));
      cuda::Stream stream;
      cuda::attention(dtype, device_q.data(), device_k.data(), device_v.data(), region.data(), region_bytes, batch, seq,
                      heads, head_dim, stream);
      cuda::synchronize_device();
      std::vector<std::byte> got = region.read();
      got.resize(static_cast<size_t>(bytes));
      EXPECT_EQ(got,
                attention_in_a_graph(dtype, device_q, device_k, device_v, region_bytes, {batch, seq, heads, head_dim}));
      std::vector<std::byte> expected(
          static_cast<size_t>(bytes + cpu::measure_attention_workspace(dtype, batch, seq, heads, head_dim)));
      cpu::attention(dtype, q.data(), k.data(), v.data(), expected.data(), static_cast<int64_t>(expected.size()), batch,
                     seq, heads, head_dim);
      expected.resize(static_cast<size_t>(bytes));
      testing::expect_same_attention(dtype, got, expected);
      if (HasFatalFailure()) return;
    }
  }
}

// A region measured at the planned shape serves every smaller one: last batches, and sequences scored one by one.
TEST_F(CudaLayers, AttentionOfSmallerShapesStaysInTheRegion) {
  constexpr int64_t kHeads = 32;
  constexpr int64_t kHeadDim = 128;
  for (DType dtype : kAllDTypes) {
    for (const auto& [batch, seq] : {std::array<int64_t, 2>{1, 352}, {1, 2048}, {2, 600}, {8, 64}}) {
      const int64_t bytes = batch * seq * kHeads * kHeadDim * dtype_bytes(dtype);
      const int64_t region_bytes = bytes + cuda::measure_attention_workspace(dtype, batch, seq, kHeads, kHeadDim);
      const OnDevice input(static_cast<size_t>(bytes));
      const OnDevice region(static_cast<size_t>(region_bytes));
      cuda::Stream stream;
      for (int64_t smaller_batch = 1; smaller_batch <= batch; ++smaller_batch) {
        for (int64_t smaller = 1; smaller <= seq; smaller += smaller < 8 ? 1 : 31) {
          SCOPED_TRACE(fmt::format("{} planned {}x{}, {}x{}", dtype_name(dtype), batch, seq, smaller_batch, smaller));
          ASSERT_NO_THROW(cuda::attention(dtype, input.data(), input.data(), input.data(), region.data(), region_bytes,
                                          smaller_batch, smaller, kHeads, kHeadDim, stream));
        }
      }
      cuda::synchronize_device();
    }
  }
}

}  // namespace
}  // namespace zo2

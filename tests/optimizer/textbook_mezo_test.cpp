// The textbook baseline against the engine: the same mathematics by other code, so equal within rounding and no closer.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "optimizer/testing.h"

namespace zo2 {
namespace {

using testing::tiny_job;
using testing::tiny_model;

struct Outcome {
  std::vector<LogEntry> entries;
  std::vector<double> steps_ms;
  std::vector<double> evaluations;
  std::vector<std::byte> weights;  // final, all of them
  TrainReport report;
};

Outcome run(TrainJob job, MethodKind method) {
  job.method = method;
  Outcome outcome;
  TrainObserver observer;
  observer.on_step = [&](const StepResult& result) {
    outcome.entries.push_back(result.entries.at(0));
    outcome.steps_ms.push_back(result.step_ms);
  };
  observer.on_evaluation = [&](int64_t, const Evaluation& found) { outcome.evaluations.push_back(found.loss); };
  outcome.report = run_train_job(job, observer, [&](const HostWeights& weights) {
    for (int weight = 0; weight < weights.count(); ++weight) {
      outcome.weights.insert(outcome.weights.end(), weights.data(weight), weights.data(weight) + weights.bytes(weight));
    }
  });
  return outcome;
}

double largest_gradient(const Outcome& outcome) {
  double largest = 0;
  for (const LogEntry& entry : outcome.entries) largest = std::max(largest, std::fabs(entry.projected_gradient));
  return largest;
}

float largest_difference(const std::vector<std::byte>& a, const std::vector<std::byte>& b) {
  float largest = 0;
  for (size_t i = 0; i < a.size(); i += 4) {
    float x = 0;
    float y = 0;
    std::memcpy(&x, &a[i], 4);
    std::memcpy(&y, &b[i], 4);
    largest = std::max(largest, std::fabs(x - y));
  }
  return largest;
}

struct Variant {
  const char* name;
  bool tied;
  bool norm_before;
  int64_t word_embed_proj_dim;
  Distribution noise;
};

void PrintTo(const Variant& variant, std::ostream* out) { *out << variant.name; }

class Textbook : public ::testing::TestWithParam<Variant> {};

TEST_P(Textbook, AgreesWithTheEngineInFp32) {
  constexpr int64_t kSteps = 10;
  const auto job = [&] {
    ModelConfig config = tiny_model(GetParam().tied);
    config.norm_before = config.final_norm = GetParam().norm_before;
    config.word_embed_proj_dim = GetParam().word_embed_proj_dim;
    TrainJob job = tiny_job(config, DType::f32, kSteps);
    job.executor.noise = GetParam().noise;
    job.executor.weight_decay = 10;  // 1% a step: far beyond the tolerance
    job.evaluation =
        evaluation_of(std::vector<Sequence>{{{2, 5, 9, 11, 3}, {2, 5, 9, 11, 3}}, {{7, 1, 4}, {-100, 1, 4}}});
    job.eval_every = 3;
    return job;
  };
  const Outcome zo2 = run(job(), MethodKind::zo2);
  const Outcome mezo = run(job(), MethodKind::mezo);

  // Two forwards in float32 differ by a few units in the last place of a loss near log(160): four of 2^-21. A gradient
  // divides the difference of two such losses by 2 eps; twice that, for what earlier differences make of it. Every step
  // moves the weights by so much along z, and with them the later losses by that times a gradient.
  const double loss_error = 4 * std::ldexp(1.0, -21);
  const double gradient_error = 2 * loss_error / 1e-3;
  const double step_error = 1e-3 * gradient_error;
  const double later_loss_error = loss_error + kSteps * step_error * largest_gradient(zo2);
  ASSERT_EQ(mezo.entries.size(), static_cast<size_t>(kSteps));
  for (size_t step = 0; step < kSteps; ++step) {
    SCOPED_TRACE(step);
    EXPECT_NEAR(mezo.entries[step].loss_plus, zo2.entries[step].loss_plus, step == 0 ? loss_error : later_loss_error);
    EXPECT_NEAR(mezo.entries[step].loss_minus, zo2.entries[step].loss_minus, step == 0 ? loss_error : later_loss_error);
    EXPECT_NEAR(mezo.entries[step].projected_gradient, zo2.entries[step].projected_gradient, gradient_error);
    EXPECT_GT(mezo.steps_ms[step], 0);
  }
  ASSERT_EQ(mezo.evaluations.size(), 4u);
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(mezo.evaluations[i], zo2.evaluations[i], later_loss_error);

  // |z| stays below 7; four changes in place round four times, weights below 4.
  const double weight_error = kSteps * (7 * step_error + 4 * std::ldexp(1.0, -23));
  ASSERT_EQ(mezo.weights.size(), zo2.weights.size());
  EXPECT_LT(largest_difference(mezo.weights, zo2.weights), weight_error);
  // That says something only if the weights moved by far more.
  EXPECT_GT(largest_gradient(zo2) * 1e-3, 20 * step_error);
  EXPECT_EQ(mezo.report.initial_weights, zo2.report.initial_weights);
  EXPECT_NE(mezo.report.final_weights, mezo.report.initial_weights);
}

INSTANTIATE_TEST_SUITE_P(All, Textbook,
                         ::testing::Values(Variant{"tied", true, true, 32, Distribution::gaussian},
                                           Variant{"untied", false, true, 32, Distribution::gaussian},
                                           Variant{"rademacher", true, true, 32, Distribution::rademacher},
                                           Variant{"postnorm_projected", true, false, 16, Distribution::gaussian}),
                         [](const auto& info) { return info.param.name; });

TEST(Textbook16Bit, FirstLossesAreCloseToTheEnginesAndWeightsMove) {
  // Weights perturbed in place, activations and logits of order one are rounded a dozen times on the way to a loss: 16
  // units of rounding. Where the logits are, the engine has float32 and the baseline the weights' dtype.
  for (auto [dtype, unit] :
       {std::pair{DType::f16, std::ldexp(1.0, -11)}, std::pair{DType::bf16, std::ldexp(1.0, -8)}}) {
    SCOPED_TRACE(dtype_name(dtype));
    const Outcome zo2 = run(tiny_job(tiny_model(), dtype, 5), MethodKind::zo2);
    const Outcome mezo = run(tiny_job(tiny_model(), dtype, 5), MethodKind::mezo);
    EXPECT_NEAR(mezo.entries[0].loss_plus, zo2.entries[0].loss_plus, 16 * unit);
    EXPECT_NEAR(mezo.entries[0].loss_minus, zo2.entries[0].loss_minus, 16 * unit);
    for (const LogEntry& entry : mezo.entries) EXPECT_EQ(entry.flags, 0);
    EXPECT_NE(mezo.report.final_weights, mezo.report.initial_weights);
  }
}

TEST(TextbookMeter, HasTheAllocatorsPeaksOnCuda) {
  const Outcome mezo = run(tiny_job(tiny_model(), DType::f32, 2), MethodKind::mezo);
  const MemoryMeter& meter = mezo.report.memory;
  EXPECT_EQ(meter.planned_bytes, 0);
  if (testing::test_device() == Device::cpu) {
    EXPECT_EQ(meter.allocator_reserved_peak_bytes, 0);
    return;
  }
  EXPECT_GE(meter.allocator_allocated_peak_bytes, mezo.report.host_bytes);
  EXPECT_GE(meter.allocator_reserved_peak_bytes, meter.allocator_allocated_peak_bytes);
}

TEST(TextbookErrors, ATokenOutsideTheVocabularyIsRefused) {
  const std::string message = testing::message_of<UsageError>([] {
    TrainJob job = tiny_job(tiny_model(), DType::f32, 1);
    job.evaluation = evaluation_of(std::vector<Sequence>{{{2, 160}, {2, 160}}});
    run(std::move(job), MethodKind::mezo);
  });
  EXPECT_NE(message.find("token id 160 is outside the vocabulary of 160"), std::string::npos) << message;
}

TEST(TextbookErrors, OutOfDeviceMemorySaysWhatToDo) {
  if (testing::test_device() == Device::cpu) GTEST_SKIP() << "skipped: needs a GPU's limit of memory";
  const std::string message = testing::message_of<OutOfMemoryError>([] {
    // Logits of 16,384 x 24 rows and log-probabilities of the same size: 79 GB each.
    ModelConfig config = tiny_model();
    config.vocab_size = 50272;
    TrainJob job = tiny_job(config, DType::f32, 1);
    job.data = random_tokens(config.vocab_size, 16384, 24, 3);
    run(std::move(job), MethodKind::mezo);
  });
  EXPECT_NE(message.find("choose a smaller model, batch or sequence"), std::string::npos) << message;
}

}  // namespace
}  // namespace zo2

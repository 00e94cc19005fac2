#include "experiment/timed_window.h"

#include <gtest/gtest.h>

#include <random>

#include "experiment/config_schema.h"
#include "support.h"

namespace zo2 {
namespace {

// The step before which a run of these times ends. As in the trainer, the step before that one is still unknown then.
int64_t end_of(StoppingRule rule, const std::vector<double>& times) {
  for (size_t step = 0; step < times.size(); ++step) {
    if (step > 1) rule.add(times[step - 2]);
    if (rule.stop_before(static_cast<int64_t>(step))) return static_cast<int64_t>(step);
  }
  return static_cast<int64_t>(times.size());
}

TEST(MeanInterval, IsStudentsInterval) {
  MeanInterval interval;
  for (double value : {10.0, 12.0, 11.0, 13.0}) interval.add(value);
  EXPECT_FALSE(interval.relative_half_width()) << "four values";
  interval.add(14.0);
  EXPECT_EQ(interval.mean(), 12.0);
  // t(0.975, 4) = 2.776445, standard deviation sqrt(2.5).
  EXPECT_NEAR(*interval.relative_half_width(), 2.776445 * std::sqrt(2.5 / 5) / 12, 0.004 * 0.1636);
  for (int i = 0; i < 995; ++i) interval.add(i % 2 == 0 ? 11.0 : 13.0);
  EXPECT_NEAR(*interval.relative_half_width(), 1.9623 * std::sqrt(1.0 / 1000) / 12, 0.01 * 0.00517);
}

TEST(MeanInterval, HoldsTheTrueMeanInNineteenOfTwentyCases) {
  const uint64_t seed = testing::random_seed();
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal(100, 5);
  int held = 0;
  constexpr int kCases = 4000;
  for (int i = 0; i < kCases; ++i) {
    MeanInterval interval;
    for (int k = 0; k < 6; ++k) interval.add(normal(random));
    held += std::fabs(interval.mean() - 100) <= *interval.relative_half_width() * interval.mean();
  }
  // A binomial's standard deviation is 13.8 here: five of them.
  EXPECT_NEAR(held, 0.95 * kCases, 69) << "seed " << seed;
}

TEST(StoppingRule, EndsAtTheFirstPeriodAfterFiveQuietOnes) {
  const std::vector<double> quiet(100, 20.0);
  EXPECT_EQ(end_of({0.01, 0, 1}, quiet), 6);
  EXPECT_EQ(end_of({0.01, 7, 1}, quiet), 13);
  EXPECT_EQ(end_of({0.01, 7, 8}, quiet), 7 + 6 * 8) << "the sixth period ends with a step that is unknown yet";
  EXPECT_EQ(end_of({0, 0, 1}, quiet), 100) << "0: never";
  for (int64_t warmup : {0, 7}) {
    for (int64_t period : {1, 8}) {
      EXPECT_EQ(end_of({0.01, warmup, period}, quiet), least_steps_to_stop(warmup, period));
    }
  }
}

TEST(StoppingRule, CountsPeriodsNotStepsAndNoWarmUp) {
  // Steps alternate wildly and periods of two are equal; warm-up is slow.
  std::vector<double> times(5, 1000.0);
  for (int i = 0; i < 100; ++i) times.push_back(i % 2 == 0 ? 10 : 90);
  EXPECT_EQ(end_of({0.001, 5, 2}, times), 5 + 6 * 2);
  EXPECT_EQ(end_of({0.001, 5, 1}, times), 105);
  EXPECT_EQ(end_of({0.001, 0, 2}, times), 105) << "five slow steps stay in the mean";
}

TEST(StoppingRule, NoiseTakesMoreSteps) {
  const uint64_t seed = testing::random_seed();
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal(100, 10);
  std::vector<double> times(20000);
  for (double& time : times) time = normal(random);
  // The half width is 1.96 x 10 / sqrt(n) / 100, so about n = (0.196 / bound)^2 steps.
  const int64_t steps = end_of({0.01, 10, 1}, times);
  EXPECT_GT(steps, 384 / 2) << "seed " << seed;
  EXPECT_LT(steps, 384 * 2) << "seed " << seed;
}

std::vector<StepSample> samples_of(const std::vector<double>& times) {
  std::vector<StepSample> samples;
  for (size_t i = 0; i < times.size(); ++i) {
    samples.push_back({.step = static_cast<int64_t>(i),
                       .loss_plus = {},
                       .loss_minus = {},
                       .projected_gradient = {},
                       .step_ms = times[i]});
  }
  return samples;
}

Json config_with(int64_t warmup, int64_t period, double within = 0) {
  Json config = default_config();
  config_set(config, "train.warmup", warmup);
  config_set(config, "method.writeback_every", period);
  config_set(config, "train.stop_within", within);
  return config;
}

TEST(SpeedMetrics, AreThoseOfTheLastWholePeriodsAfterWarmUp) {
  Json result = make_result(State::ok, "");
  add_speed_metrics(config_with(1, 2), samples_of({500, 400, 10, 30, 20, 40}), {1, 1, 70, 130, 90, 110}, result);
  const Json& metrics = result["metrics"];
  EXPECT_EQ(metrics["steps"], 6);
  EXPECT_EQ(metrics["window_steps"], 4);
  EXPECT_EQ(metrics["step_ms_mean"], 25.0);
  EXPECT_EQ(metrics["tokens_per_s"], 4000.0);
  EXPECT_EQ(metrics["forward_tokens_per_s"], 8000.0);
  EXPECT_EQ(metrics["step_ms_p50"], 25.0);
  EXPECT_NEAR(metrics["tokens_per_s_paper"].get<double>(), (130e3 / 30 + 90e3 / 20 + 110e3 / 40) / 3, 1e-9);
  EXPECT_FALSE(metrics.contains("step_ms_half_width")) << "two periods";

  result = make_result(State::ok, "");
  add_speed_metrics(config_with(0, 1), samples_of({500, 100, 20}), {100, 100, 100}, result);
  EXPECT_EQ(result["metrics"]["tokens_per_s_paper"], 5000.0) << "of three steps the last";
  add_speed_metrics(config_with(0, 1), samples_of({20}), {100}, result);
  EXPECT_EQ(result["metrics"]["tokens_per_s_paper"], 5000.0) << "of one step that one";

  result = make_result(State::ok, "");
  add_speed_metrics(config_with(5, 2), samples_of({1, 1, 1, 1, 1, 1}), std::vector<int64_t>(6, 100), result);
  EXPECT_EQ(result["metrics"], (Json{{"steps", 6}})) << "no whole period after warm-up";
}

TEST(SpeedMetrics, WarnWhenTheStoppingRuleWasNotReached) {
  std::vector<double> times{10, 20, 10, 20, 10, 20, 10, 20};
  const auto warnings = [&](double within, int64_t steps) {
    Json config = config_with(0, 1, within);
    config_set(config, "train.steps", steps);
    Json result = make_result(State::ok, "");
    add_speed_metrics(config, samples_of(times), std::vector<int64_t>(8, 100), result);
    return result["warnings"].size();
  };
  EXPECT_EQ(warnings(0.01, 8), 1u);
  EXPECT_EQ(warnings(0.9, 8), 0u);
  EXPECT_EQ(warnings(0, 8), 0u);
}

}  // namespace
}  // namespace zo2

// Forecasts of schedules so small that their times can be worked out by hand.
#include "program/forecast.h"

#include "base/bytes.h"
#include "program/toy_model.h"

namespace zo2 {
namespace {

using namespace zo2::testing;

// `layers` square matrices one after another, each a tile; nothing else.
struct Chain {
  ParameterTable table;
  Program program;
  Layout layout;
  Schedule schedule;
  std::vector<CommitRule> commits;

  Chain(int layers, int64_t period, bool overlap, int64_t tokens, ArenaBudget budget = {}, int slots = 4, int pairs = 1,
        const Scheme& scheme = {}) {
    constexpr int64_t kHidden = 1024;
    for (int layer = 0; layer < layers; ++layer) {
      table.add({static_cast<uint32_t>(layer + 1), "w", kHidden, kHidden});
      commits.push_back({period, layer});
    }
    PassShape shape;
    shape.seq = tokens;
    shape.pairs = pairs;
    shape.scheme = scheme;
    ProgramBuilder builder(table, shape, kHidden, 1);
    Activation x = builder.activation("x", kHidden);
    for (int layer = 0; layer < layers; ++layer) {
      const Activation y = builder.activation("y", kHidden);
      builder.linear(x, layer, nullptr, y);
      x = y;
    }
    program = builder.take();
    layout = plan_layout(table, {&program}, slots, budget);
    schedule = make_schedule(program, layout, overlap);
  }

  static constexpr double kTileBytes = 1024 * 1024 * 2;
  Forecast at(const Hardware& hardware, int steps = 3) const {
    return forecast(program, schedule, commits, hardware, steps);
  }
};

// Nothing takes time but what a test sets.
Hardware ideal() {
  Hardware hardware;
  hardware.upload_gbps = hardware.download_gbps = 1e9;
  hardware.duplex_upload_gbps = hardware.duplex_download_gbps = 1e9;
  hardware.gemm_tflops = hardware.attention_tflops = 1e9;
  hardware.visit_gparams = 1e9;
  hardware.memory_gbps = 1e9;
  return hardware;
}

Hardware with_link(double up, double down, double both_up, double both_down) {
  Hardware hardware = ideal();
  hardware.upload_gbps = up;
  hardware.download_gbps = down;
  hardware.duplex_upload_gbps = both_up;
  hardware.duplex_download_gbps = both_down;
  return hardware;
}

TEST(Forecast, BoundByUploadsTakesTheirBytesOverTheRate) {
  const Chain chain(16, /*period=*/1 << 20, true, 1);  // commits far in the future
  const Forecast result = chain.at(with_link(50, 50, 40, 40));
  const double expected_ms = 16 * Chain::kTileBytes / 50e9 * 1e3;
  EXPECT_NEAR(result.step_ms, expected_ms, 1e-3 * expected_ms);
  EXPECT_NEAR(result.upload_ms, expected_ms, 0.05 * expected_ms);
  EXPECT_EQ(result.download_ms, 0);
  PassShape shape;
  shape.batch = 2;
  shape.seq = 100;
  EXPECT_NEAR(result.tokens_per_s(shape), 200 / (result.step_ms / 1e3), 1e-6 * result.tokens_per_s(shape));
}

TEST(Forecast, CopiesInBothDirectionsSlowEachOtherDown) {
  const Chain chain(16, 1, true, 1);
  const double bytes = 16 * Chain::kTileBytes;
  // Every tile goes up and down; both directions are busy all the time.
  const Forecast slowed = chain.at(with_link(50, 50, 40, 40));
  EXPECT_NEAR(slowed.step_ms, bytes / 40e9 * 1e3, 1e-3 * slowed.step_ms);
  const Forecast free = chain.at(with_link(50, 50, 50, 50));
  EXPECT_NEAR(free.step_ms, bytes / 50e9 * 1e3, 1e-3 * free.step_ms);
  // Once the slots are full: a tile goes up while half of another goes down, whose other half then has the link alone.
  const Forecast lopsided = chain.at(with_link(50, 50, 40, 20));
  EXPECT_NEAR(lopsided.step_ms, (bytes / 40e9 + bytes / 2 / 50e9) * 1e3, 1e-2 * lopsided.step_ms);
}

TEST(Forecast, WithoutOverlapTheTimesAddUp) {
  const Chain chain(5, 1, /*overlap=*/false, 1);
  Hardware hardware = with_link(50, 25, 1, 1);  // the duplex rates are never reached
  hardware.visit_gparams = 100;
  const double up = 5 * Chain::kTileBytes / 50e9 * 1e3;
  const double down = 5 * Chain::kTileBytes / 25e9 * 1e3;
  const double visits = 5 * 1024.0 * 1024 / 100e9 * 1e3;  // one direction and one pending entry
  const Forecast result = chain.at(hardware);
  EXPECT_NEAR(result.step_ms, up + down + visits, 1e-3 * result.step_ms);
  EXPECT_NEAR(result.upload_ms, up, 1e-3 * up);
  EXPECT_NEAR(result.compute_ms, visits, 1e-3 * visits);
  EXPECT_NEAR(result.download_ms, down, 1e-3 * down);
}

TEST(Forecast, BoundByComputeTakesItsOperations) {
  const int64_t tokens = 512;
  const Chain chain(8, 1, true, tokens);
  Hardware hardware = ideal();
  hardware.gemm_tflops = 1;
  hardware.gemm_ramp_tokens = 512;                            // so half of the rate
  const double flops = 8 * 2.0 * 2.0 * tokens * 1024 * 1024;  // for + and for -
  const double expected_ms = flops / 0.5e12 * 1e3;
  const Forecast result = chain.at(hardware);
  EXPECT_NEAR(result.step_ms, expected_ms, 1e-3 * expected_ms);
  EXPECT_NEAR(result.compute_ms, expected_ms, 1e-3 * expected_ms);
  // Twice the directions, twice the work.
  const Forecast pairs = Chain(8, 1, true, tokens, {}, 4, 2).at(hardware);
  EXPECT_NEAR(pairs.step_ms, 2 * expected_ms, 2e-3 * expected_ms);
}

TEST(Forecast, VisitsReplayWhatIsPending) {
  // Every 8th step: between 1 and 8 entries pending, 4.5 on average over weights of all phases, and one direction.
  const Chain chain(64, 8, true, 1, {ArenaBudget::kAll});
  Hardware hardware = ideal();
  hardware.visit_gparams = 100;
  const double expected_ms = 64 * 1024.0 * 1024 * (4.5 + 1) / 2 / 100e9 * 1e3;
  EXPECT_NEAR(chain.at(hardware, 3).step_ms, expected_ms, 1e-3 * expected_ms);
}

TEST(Forecast, AcceptsEverySchemeAndChargesANoiseBufferForItsTraffic) {
  Hardware hardware = with_link(50, 50, 40, 40);
  hardware.memory_gbps = 1000;
  hardware.visit_gparams = 100;
  for (const Scheme& scheme : all_schemes()) {
    PassShape shape = toy_shape(1);
    shape.scheme = scheme;
    const ToyPasses passes(Toy(), shape, 3, {});
    std::vector<CommitRule> commits;
    for (size_t weight = 0; weight < passes.table.weights.size(); ++weight) {
      commits.push_back({1, static_cast<int64_t>(weight)});
    }
    const Forecast result = forecast(passes.programs[0], passes.schedule(0), commits, hardware);
    EXPECT_GT(result.step_ms, 0) << scheme_name(scheme);
    EXPECT_GE(result.step_ms, result.compute_ms * (1 - 1e-9)) << scheme_name(scheme);
  }
  // Bound by memory: a visit moves the base and two outputs, and with a buffer reads z, which was written first.
  hardware = ideal();
  hardware.memory_gbps = 1;
  const auto compute_ms = [&](bool noise_buffer) {
    return Chain(8, 1, true, 1, {ArenaBudget::kAll}, 4, 1, {.noise_buffer = noise_buffer}).at(hardware).compute_ms;
  };
  const double tiles_ms = 8 * Chain::kTileBytes / 1e9 * 1e3;
  EXPECT_NEAR(compute_ms(true) - compute_ms(false), 2 * tiles_ms, 1e-3 * tiles_ms);
}

TEST(Forecast, LaunchesCountForEveryOperation) {
  const Chain chain(10, 1, true, 1, {ArenaBudget::kAll});
  Hardware hardware = ideal();
  hardware.launch_us = 10;
  // inputs; per tile a visit and two linears.
  EXPECT_NEAR(chain.at(hardware).step_ms, (1 + 10 * 3) * 0.01, 1e-3);
}

TEST(Forecast, FewerCommitsAreFasterWhenTheLinkIsTheLimit) {
  const Hardware hardware = with_link(54.9, 54.1, 45, 45);
  const double one = Chain(32, 1, true, 1).at(hardware).step_ms;
  const double eight = Chain(32, 8, true, 1).at(hardware).step_ms;
  const double bytes = 32 * Chain::kTileBytes;
  EXPECT_LT(eight, 0.9 * one);
  EXPECT_GT(eight, bytes / 54.9e9 * 1e3);
  EXPECT_LT(eight, (bytes * 7 / 8 / 54.9e9 + bytes / 8 / 40e9) * 1e3);
}

TEST(Forecast, TheLargestPeriodStillUploadsEveryWeight) {
  // 64 is also the period of tables that are folded now and then: those are not uploaded between commits, matrices are.
  const Hardware hardware = with_link(50, 50, 40, 40);
  const double bytes = 16 * Chain::kTileBytes;
  EXPECT_GE(Chain(16, 64, true, 1).at(hardware).step_ms, bytes / 50e9 * 1e3 * (1 - 1e-6));
}

TEST(Forecast, ResidentTilesDoNotUseTheLink) {
  const Chain chain(16, 1, true, 1, {ArenaBudget::kAll});
  const Forecast result = chain.at(with_link(1, 1, 1, 1));
  EXPECT_EQ(result.upload_ms, 0);
  EXPECT_EQ(result.download_ms, 0);
  EXPECT_LT(result.step_ms, 0.01);
}

TEST(Forecast, AnEvaluationDownloadsNothing) {
  const Forecast result = Chain(16, 1, true, 1, {}, 4, /*pairs=*/0).at(with_link(50, 50, 40, 40));
  EXPECT_EQ(result.download_ms, 0);
  EXPECT_NEAR(result.step_ms, 16 * Chain::kTileBytes / 50e9 * 1e3, 1e-3 * result.step_ms);
}

TEST(Forecast, MoreSlotsAndOverlapNeverSlowDown) {
  Hardware hardware = with_link(54.9, 54.1, 45, 45);
  hardware.visit_gparams = 20;
  double before = Chain(24, 1, false, 1).at(hardware).step_ms;
  for (int slots : {2, 3, 4, 8}) {
    const double now = Chain(24, 1, true, 1, {}, slots).at(hardware).step_ms;
    EXPECT_LE(now, before * (1 + 1e-6)) << slots << " slots";
    before = now;
  }
}

}  // namespace
}  // namespace zo2

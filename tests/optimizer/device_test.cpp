// What the devices promise each other: the CPU replays what a device committed, and a step makes the host wait nowhere.
#include <fmt/format.h>

#include <map>

#include "base/error.h"
#include "optimizer/testing.h"

#ifdef ZO2_HAVE_CUDA
#include "runtime/cuda/resources.h"
#include "runtime/cuda/visit.h"
#endif

namespace zo2 {
namespace {

using testing::run;
using testing::test_device;
using testing::tiny_job;
using testing::tiny_model;
using testing::Trace;

TEST(Device, BothDevicesReplayTheLogToTheSameWeights) {
  for (DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    for (Rounding rounding : {Rounding::nearest, Rounding::stochastic}) {
      for (int pairs : {1, 3}) {
        SCOPED_TRACE(fmt::format("{} rounding {} pairs {}", dtype_name(dtype), static_cast<int>(rounding), pairs));
        const auto make = [&] {
          TrainJob job = tiny_job(tiny_model(false), dtype, 40);
          job.plan.writeback_every = 4;
          job.plan.pairs = pairs;
          job.executor.rounding = rounding;
          return job;
        };
        const Trace trace = run(make());
        TrainJob job = make();
        PlanSettings settings = job.plan;
        settings.batch = job.data->batch_size();
        settings.seq = job.data->longest();
        const Plan plan = make_plan(job.config, settings, measured_attention(Device::cpu, dtype, 1));
        for (Device device : {Device::cpu, test_device()}) {
          HostWeights weights(plan.table, dtype);
          job.fill(weights);
          replay_weights(device, weights, plan.commits, job.executor, trace.entries, pairs, 0, 40);
          EXPECT_EQ(weights_hash(weights), trace.report.final_weights) << device_name(device);
        }
        EXPECT_NE(trace.report.initial_weights, trace.report.final_weights);
      }
    }
  }
}

TEST(Device, TracesTheStepsAskedFor) {
  TrainJob job = tiny_job(tiny_model(), DType::f16, 6);
  job.executor.trace = {2, 2};
  const Trace trace = run(std::move(job));
  ASSERT_FALSE(trace.report.trace.empty());
  EXPECT_EQ(trace.report.trace.front().begin_ms, 0);
  std::map<int64_t, std::map<OpKind, int64_t>> counts;                          // by step
  std::map<std::pair<int64_t, int>, std::map<OpKind, const TraceSpan*>> tiles;  // by step and tile
  for (const TraceSpan& span : trace.report.trace) {
    EXPECT_LE(span.begin_ms, span.end_ms);
    ++counts[span.step][span.kind];
    if (is_copy(span.kind)) {
      EXPECT_GT(span.bytes, 0);
      EXPECT_GE(span.slot, 0);
    }
    tiles[{span.step, span.tile}][span.kind] = &span;
  }
  ASSERT_EQ(counts.size(), 2U);
  for (int64_t step : {2, 3}) {
    SCOPED_TRACE(step);
    ASSERT_TRUE(counts.contains(step));
    std::map<OpKind, int64_t>& of = counts[step];
    // Every tile that is visited moves and, with a commit each step, moves back. The table of positions waits for its
    // turn: its operations are left out.
    EXPECT_GT(of[OpKind::visit], 0);
    EXPECT_EQ(of[OpKind::upload], of[OpKind::visit]);
    EXPECT_EQ(of[OpKind::download], of[OpKind::visit]);
    EXPECT_EQ(of[OpKind::fold], 0);
    EXPECT_EQ(of[OpKind::inputs], 1);
    EXPECT_EQ(of[OpKind::entry], 1);
  }
  constexpr double kEventResolutionMs = 2e-3;  // twice that of CUDA's events; the CPU needs none
  for (auto& [key, of] : tiles) {
    if (!of.contains(OpKind::visit)) continue;
    SCOPED_TRACE(fmt::format("step {} tile {}", key.first, key.second));
    EXPECT_GE(of[OpKind::visit]->begin_ms, of[OpKind::upload]->end_ms - kEventResolutionMs);
    EXPECT_GE(of[OpKind::download]->begin_ms, of[OpKind::visit]->end_ms - kEventResolutionMs);
  }
}

TEST(Device, TracingChangesNoBit) {
  const auto make = [](int64_t traced) {
    TrainJob job = tiny_job(tiny_model(), DType::f16, 6);
    job.executor.trace = {0, traced};
    return run(std::move(job));
  };
  const Trace plain = make(0);
  EXPECT_TRUE(plain.report.trace.empty());
  testing::expect_equal(plain, make(6));
}

#ifdef ZO2_HAVE_CUDA

TEST(Device, TheHostWaitsOnlyForTheEndsOfSteps) {
  if (test_device() == Device::cpu) GTEST_SKIP() << "skipped: set ZO2_TEST_DEVICE=cuda";
  for (HostMemory host : {HostMemory::registered, HostMemory::staged}) {
    TrainJob job = tiny_job(tiny_model(), DType::f16, 1);
    job.executor.host = host;
    PlanSettings settings = job.plan;
    settings.batch = job.data->batch_size();
    settings.seq = job.data->longest();
    settings.evaluation = false;
    const Plan plan = make_plan(job.config, settings, measured_attention(Device::cuda, settings.dtype, 1));
    HostWeights weights(plan.table, settings.dtype);
    job.fill(weights);
    const auto executor = make_executor(Device::cuda, plan, weights, job.executor);
    executor->start(0, {});
    int64_t waits_in_submit = 0;
    int64_t waits_for_results = 0;
    for (int64_t step = 0; step < 12; ++step) {
      PassInput input;
      input.batch = job.data->batch(step, 0);
      input.step = step;
      input.seed = static_cast<uint64_t>(step);
      int64_t before = cuda::host_waits();
      executor->submit(std::move(input));
      waits_in_submit += cuda::host_waits() - before;
      if (step == 0) continue;
      before = cuda::host_waits();
      executor->next_result();
      waits_for_results += cuda::host_waits() - before;
    }
    EXPECT_LE(waits_in_submit, 8);  // a pass's place in the ring of four, when it is taken again: its pass has ended
    EXPECT_EQ(waits_for_results, 11);
    executor->next_result();
  }
}

// Batches whose shape changes from step to step and comes again, so that graphs are made, launched and warmed up for.
class ChangingShapes final : public BatchSource {
 public:
  explicit ChangingShapes(int64_t vocab_size) {
    for (int64_t seq : {12, 7, 12}) widths_.push_back(random_tokens(vocab_size, 2, seq, static_cast<uint64_t>(seq)));
  }
  Batch batch(int64_t step, int pass) const override {
    return widths_[static_cast<size_t>(step + pass) % widths_.size()]->batch(step, 0);
  }
  int64_t batch_size() const override { return 2; }
  int64_t longest() const override { return 12; }
  int64_t labels() const override { return 24; }

 private:
  std::vector<std::unique_ptr<BatchSource>> widths_;
};

TEST(Device, OneLaunchAStepChangesNoBit) {
  if (test_device() == Device::cpu) GTEST_SKIP() << "skipped: set ZO2_TEST_DEVICE=cuda";
  for (bool tied : {true, false}) {
    for (Scheme scheme : {Scheme{}, Scheme{Granularity::tile, false, false, true}}) {
      const auto make = [&](bool graphs, int64_t budget) {
        TrainJob job = tiny_job(tiny_model(tied), DType::f16, 90);  // tables that only gathers read commit once in 64
        job.plan.writeback_every = 4;
        job.plan.scheme = scheme;
        job.plan.budget.bytes = budget;
        job.plan.graphs = graphs;
        job.executor.rounding = Rounding::stochastic;
        job.trainer.micro_batches = 2;
        job.data = std::make_unique<ChangingShapes>(160);
        job.evaluation = evaluation_of({Sequence{{2, 5, 9, 11, 3}, {2, 5, 9, 11, 3}}});
        job.eval_every = 8;
        return run(std::move(job));
      };
      const Trace graphs = make(true, ArenaBudget::kAll);
      testing::expect_equal(graphs, make(false, ArenaBudget::kAll));
      const Trace streamed = make(true, ArenaBudget::kSmallest);
      testing::expect_equal(graphs, streamed);
      EXPECT_EQ(graphs.evaluations, streamed.evaluations);
    }
  }
}

TEST(Device, EveryWayToReachHostMemoryGivesTheSameBits) {
  if (test_device() == Device::cpu) GTEST_SKIP() << "skipped: set ZO2_TEST_DEVICE=cuda";
  for (bool tied : {true, false}) {
    for (int64_t writeback_every : {1, 4}) {
      for (int quarters : {0, 1, 2, 3}) {  // of the tiles are resident, those of the tables too
        const auto make = [&](HostMemory host) {
          TrainJob job = tiny_job(tiny_model(tied), DType::bf16, 30);
          job.plan.writeback_every = writeback_every;
          job.plan.tile_bytes = 4096;
          job.executor.host = host;
          job.plan.budget.bytes = testing::budget_with_resident(job, quarters);
          return run(std::move(job));
        };
        const Trace registered = make(HostMemory::registered);
        testing::expect_equal(registered, make(HostMemory::staged));
        testing::expect_equal(registered, make(HostMemory::pageable));
      }
    }
  }
}

TrainJob durable_job(const std::filesystem::path& folder) {
  TrainJob job = tiny_job(tiny_model(false), DType::bf16, 20);
  job.plan.writeback_every = 4;
  job.folder = folder;
  return job;
}

// A kernel that writes outside the device's memory breaks the context for good, as a failing GPU does.
[[noreturn]] void run_until_the_device_breaks(const std::filesystem::path& folder) {
  TrainJob job = durable_job(folder);
  TrainObserver observer;
  observer.on_step = [](const StepResult& result) {
    if (result.entries.front().step != 9) return;
    cuda::fill_noise(DType::f32, Distribution::gaussian, 1, 1, 4, reinterpret_cast<std::byte*>(0x1000), nullptr);
  };
  try {
    run_train_job(job, observer);
  } catch (const DeviceError& error) {
    fmt::print(stderr, "{}\n", error.what());
    std::_Exit(7);
  }
  std::_Exit(0);
}

TEST(DeviceDeathTest, AnErrorInTheMiddleOfAStepIsTypedAndLeavesALogToResume) {
  if (test_device() == Device::cpu) GTEST_SKIP() << "skipped: set ZO2_TEST_DEVICE=cuda";
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // a process of its own, which comes here from main()
  const std::filesystem::path folder = std::filesystem::path(::testing::TempDir()) / "zo2-broken-device";
  std::filesystem::remove_all(folder);
  EXPECT_EXIT(run_until_the_device_breaks(folder), ::testing::ExitedWithCode(7), "its step log is whole");
  const Trace resumed = run(durable_job(folder));
  std::filesystem::remove_all(folder);
  EXPECT_GE(resumed.report.first_step, 9);
  TrainJob undisturbed = durable_job(folder);
  undisturbed.folder.reset();
  EXPECT_EQ(resumed.report.final_weights, run(std::move(undisturbed)).report.final_weights);
}

TEST(Device, LossesAgreeWithTheCpus) {
  if (test_device() == Device::cpu) GTEST_SKIP() << "skipped: set ZO2_TEST_DEVICE=cuda";
  const auto make = [](Device device) {
    TrainJob job = tiny_job(tiny_model(), DType::f32, 10);
    job.device = device;
    return run(std::move(job));
  };
  const Trace cpu = make(Device::cpu);
  const Trace gpu = make(Device::cuda);
  for (size_t i = 0; i < cpu.entries.size(); ++i) {
    // Losses near 5 in float32: sums of 160 terms behind two layers, a few hundred rounding errors of 6e-8 each.
    EXPECT_NEAR(cpu.entries[i].loss_plus, gpu.entries[i].loss_plus, 2e-5) << i;
    EXPECT_NEAR(cpu.entries[i].loss_minus, gpu.entries[i].loss_minus, 2e-5) << i;
  }
}

#endif

}  // namespace
}  // namespace zo2

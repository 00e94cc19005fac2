// A run that stopped and went on has the bits of one that never stopped.
#include "base/error.h"
#include "base/file.h"
#include "optimizer/testing.h"

namespace zo2 {
namespace {

using testing::run;
using testing::TempFolder;
using testing::tiny_job;
using testing::tiny_model;
using testing::Trace;

TrainJob durable_job(const TempFolder& scratch, int64_t steps, DType dtype, Rounding rounding, int pairs,
                     int64_t snapshots) {
  TrainJob job = tiny_job(tiny_model(false), dtype, steps);
  job.plan.writeback_every = 4;
  job.plan.pairs = pairs;
  job.executor.rounding = rounding;
  job.snapshot_every = snapshots;
  job.folder = scratch.path() / "run";
  return job;
}

TEST(Resume, StoppedAndResumedEqualsUninterrupted) {
  for (DType dtype : {DType::f32, DType::bf16}) {
    for (Rounding rounding : {Rounding::nearest, Rounding::stochastic}) {
      for (int pairs : {1, 2}) {
        for (int64_t snapshots : {0, 7}) {
          SCOPED_TRACE(fmt::format("{} rounding {} pairs {} snapshots {}", dtype_name(dtype),
                                   static_cast<int>(rounding), pairs, snapshots));
          const TempFolder once;
          const Trace whole = run(durable_job(once, 75, dtype, rounding, pairs, snapshots));
          const TempFolder parts;
          std::vector<LogEntry> entries;
          Trace last;
          for (int64_t steps : {1, 23, 66, 75}) {
            last = run(durable_job(parts, steps, dtype, rounding, pairs, snapshots));
            entries.insert(entries.end(), last.entries.begin(), last.entries.end());
          }
          EXPECT_EQ(last.report.first_step, 66);
          EXPECT_EQ(last.report.final_weights, whole.report.final_weights);
          ASSERT_EQ(entries.size(), whole.entries.size());
          for (size_t i = 0; i < entries.size(); ++i) {
            ASSERT_EQ(entries[i].projected_gradient, whole.entries[i].projected_gradient) << i;
          }
        }
      }
    }
  }
}

TEST(Resume, FewerStepsThanTheLogHasAreRefusedAndChangeNothing) {
  const TempFolder scratch;
  run(durable_job(scratch, 8, DType::bf16, Rounding::nearest, 1, 0));
  const std::string log = read_file(scratch.path() / "run" / "step.log");
  try {
    run(durable_job(scratch, 5, DType::bf16, Rounding::nearest, 1, 0));
    FAIL() << "a run ended before its own log";
  } catch (const UsageError& error) {
    EXPECT_NE(std::string(error.what()).find("8 steps already, more than the 5"), std::string::npos) << error.what();
  }
  EXPECT_EQ(read_file(scratch.path() / "run" / "step.log"), log);
}

TEST(Resume, AnotherConfigurationIsRefusedByName) {
  const TempFolder scratch;
  run(durable_job(scratch, 3, DType::f32, Rounding::nearest, 1, 0));
  try {
    run(durable_job(scratch, 6, DType::bf16, Rounding::nearest, 1, 0));
    FAIL() << "a run in another dtype went on";
  } catch (const UsageError& error) {
    EXPECT_NE(std::string(error.what()).find("dtype"), std::string::npos) << error.what();
  }
}

TEST(Resume, TheLogNamesTheTileSizeThatAutoChose) {
  const TempFolder scratch;
  const TrainJob job = durable_job(scratch, 2, DType::bf16, Rounding::nearest, 1, 0);
  ASSERT_EQ(job.plan.tile_bytes, 0);
  run(durable_job(scratch, 2, DType::bf16, Rounding::nearest, 1, 0));
  const StepLog log = read_step_log(scratch.path() / "run" / "step.log");
  EXPECT_EQ(log.header.tile_bytes, default_tile_bytes(job.config.hidden_size, 2));
}

TEST(Resume, TheTextbookBaselineWritesNoLogAndSaysSo) {
  const TempFolder scratch;
  TrainJob job = durable_job(scratch, 3, DType::f32, Rounding::nearest, 1, 0);
  job.method = MethodKind::mezo;
  EXPECT_THROW(run(std::move(job)), UsageError);
}

TEST(Resume, AliasedHostWeightsHoldNothingToResumeFrom) {
  const TempFolder scratch;
  TrainJob job = durable_job(scratch, 3, DType::f32, Rounding::nearest, 1, 0);
  job.host_weights = HostWeightsKind::aliased;
  EXPECT_THROW(run(std::move(job)), UsageError);
  EXPECT_TRUE(scratch.list().empty());
}

TEST(TrainJob, AliasedHostWeightsHaveNoBestOnes) {
  TrainJob job = tiny_job(tiny_model(), DType::f32, 4);
  job.host_weights = HostWeightsKind::aliased;
  job.evaluation = evaluation_of({Sequence{{1, 2, 3}, {1, 2, 3}}});
  job.eval_every = 2;
  job.select_best = true;
  EXPECT_THROW(run(std::move(job)), UsageError);
}

TEST(TrainJob, MakesTheHostWeightsThatItAsksFor) {
  struct Seen {};
  for (HostWeightsKind kind : {HostWeightsKind::exact, HostWeightsKind::aliased}) {
    TrainJob job = tiny_job(tiny_model(), DType::f32, 1);
    job.host_weights = kind;
    job.fill = [&](HostWeights& weights) {
      EXPECT_EQ(weights.kind(), kind);
      throw Seen();
    };
    EXPECT_THROW(run(std::move(job)), Seen);
  }
}

TEST(Divergence, TenStepsWithoutAFiniteGradientStopTheRunAndKeepTheLog) {
  const TempFolder scratch;
  TrainJob job = durable_job(scratch, 100, DType::f16, Rounding::nearest, 1, 0);
  job.trainer.learning_rate.initial = 1e6;
  EXPECT_THROW(run(std::move(job)), DivergedError);
  const StepLog log = read_step_log(scratch.path() / "run" / "step.log");
  ASSERT_GE(log.entries.size(), 10u);
  EXPECT_NE(log.entries.back().flags & kLogNonFinite, 0);
  EXPECT_EQ(log.entries.back().alpha, 0.0f);
}

}  // namespace
}  // namespace zo2

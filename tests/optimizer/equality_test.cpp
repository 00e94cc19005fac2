// Where weights live and when they move is not numerics: resident and offloaded runs are equal to the bit.
#include <algorithm>

#include <fmt/format.h>

#include "optimizer/testing.h"

namespace zo2 {
namespace {

using testing::expect_equal;
using testing::run;
using testing::tiny_job;
using testing::tiny_model;
using testing::Trace;

struct Numerics {
  DType dtype;
  int64_t tile_bytes;
  int64_t writeback_every;
  Rounding rounding;
  bool tied;
};

TrainJob job_of(const Numerics& numerics, int64_t steps = 30) {
  TrainJob job = tiny_job(tiny_model(numerics.tied), numerics.dtype, steps);
  job.plan.tile_bytes = numerics.tile_bytes;
  job.plan.writeback_every = numerics.writeback_every;
  job.executor.rounding = numerics.rounding;
  return job;
}

class Equality : public ::testing::TestWithParam<std::tuple<DType, bool>> {};

TEST_P(Equality, ResidentAndOffloadedRunsAreEqualToTheBit) {
  const auto [dtype, tied] = GetParam();
  for (int64_t tile_bytes : {int64_t{4096}, int64_t{0}}) {
    for (int64_t writeback_every : {1, 4}) {
      for (Rounding rounding : {Rounding::nearest, Rounding::stochastic}) {
        const Numerics numerics{dtype, tile_bytes, writeback_every, rounding, tied};
        TrainJob resident_job = job_of(numerics);
        resident_job.method = MethodKind::resident;
        const int64_t half = testing::budget_with_resident(resident_job, 2);
        const Trace resident = run(std::move(resident_job));
        for (int slots : {2, 4}) {
          for (bool overlap : {true, false}) {
            for (int64_t budget : {ArenaBudget::kSmallest, half, ArenaBudget::kAll}) {
              SCOPED_TRACE(fmt::format("{} tile {} K {} rounding {} tied {} slots {} overlap {} budget {}",
                                       dtype_name(dtype), tile_bytes, writeback_every, static_cast<int>(rounding), tied,
                                       slots, overlap, budget));
              TrainJob job = job_of(numerics);
              job.plan.slots = slots;
              job.plan.overlap = overlap;
              job.plan.budget.bytes = budget;
              const Trace offloaded = run(std::move(job));
              expect_equal(resident, offloaded);
              ASSERT_EQ(offloaded.report.memory.peak_bytes, offloaded.report.memory.planned_bytes);
            }
          }
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, Equality,
                         ::testing::Combine(::testing::Values(DType::f32, DType::f16, DType::bf16), ::testing::Bool()),
                         [](const auto& info) {
                           return std::string(dtype_name(std::get<0>(info.param))) +
                                  (std::get<1>(info.param) ? "_tied" : "_untied");
                         });

TEST(Equality, InFp32EveryWriteBackPeriodGivesTheSameBits) {
  const Trace every_step = run(job_of({DType::f32, 0, 1, Rounding::nearest, true}, 80));
  for (int64_t writeback_every : {2, 3, 8, 64}) {
    SCOPED_TRACE(writeback_every);
    expect_equal(every_step, run(job_of({DType::f32, 0, writeback_every, Rounding::nearest, true}, 80)));
  }
}

TEST(Equality, UntiedTablesThatCommitRarelyChangeNothingInFp32) {
  // 130 steps pass two commits of the token and position tables.
  const Trace resident = [] {
    TrainJob job = job_of({DType::f32, 4096, 1, Rounding::nearest, false}, 130);
    job.method = MethodKind::resident;
    return run(std::move(job));
  }();
  expect_equal(resident, run(job_of({DType::f32, 4096, 4, Rounding::nearest, false}, 130)));
}

TEST(Equality, PostNormWithProjectionsAndRademacher) {
  ModelConfig config = tiny_model();
  config.norm_before = config.final_norm = false;
  config.word_embed_proj_dim = 16;
  const auto make = [&](MethodKind method) {
    TrainJob job = tiny_job(config, DType::bf16, 20);
    job.method = method;
    job.executor.noise = Distribution::rademacher;
    return run(std::move(job));
  };
  expect_equal(make(MethodKind::resident), make(MethodKind::zo2));
}

TEST(Equality, SeveralPairsAndMicroBatches) {
  for (int pairs : {1, 3}) {
    for (int micro_batches : {1, 2}) {
      SCOPED_TRACE(fmt::format("pairs {} micro-batches {}", pairs, micro_batches));
      const auto make = [&](MethodKind method) {
        TrainJob job = tiny_job(tiny_model(), DType::f16, 20);
        job.method = method;
        job.plan.pairs = pairs;
        job.plan.writeback_every = 4;
        job.trainer.micro_batches = micro_batches;
        return run(std::move(job));
      };
      expect_equal(make(MethodKind::resident), make(MethodKind::zo2));
    }
  }
}

// The steps from the published scheme to ours, and all of it at once.
const Scheme kSchemes[] = {
    {.granularity = Granularity::matrix},
    {.granularity = Granularity::block},
    {.full_head = true},
    {.resident_embedding = true},
    {.noise_buffer = true},
    {Granularity::block, true, true, true},
};

TrainJob job_with(const Scheme& scheme, DType dtype, bool tied, int64_t writeback_every) {
  TrainJob job = job_of({dtype, 4096, writeback_every, Rounding::nearest, tied}, 20);
  job.plan.scheme = scheme;
  job.plan.slots = 3;
  job.evaluation = evaluation_of(std::vector<Sequence>{{{2, 5, 9, 11, 3}, {2, 5, 9, 11, 3}}});
  return job;
}

TEST(Equality, EverySchemeIsEqualResidentAndOffloaded) {
  for (const Scheme& scheme : kSchemes) {
    for (DType dtype : {DType::f32, DType::f16, DType::bf16}) {
      for (bool tied : {true, false}) {
        for (int64_t writeback_every : {1, 4}) {
          SCOPED_TRACE(fmt::format("granularity {} head {} embedding {} noise {} {} tied {} K {}",
                                   static_cast<int>(scheme.granularity), scheme.full_head, scheme.resident_embedding,
                                   scheme.noise_buffer, dtype_name(dtype), tied, writeback_every));
          TrainJob job = job_with(scheme, dtype, tied, writeback_every);
          job.method = MethodKind::resident;
          const Trace resident = run(std::move(job));
          for (int pieces : {0, 2}) {  // the smallest arena, and one with room for half
            TrainJob offloaded_job = job_with(scheme, dtype, tied, writeback_every);
            if (pieces > 0) offloaded_job.plan.budget.bytes = testing::budget_with_resident(offloaded_job, 2);
            offloaded_job.plan.overlap = pieces == 0;
            const Trace offloaded = run(std::move(offloaded_job));
            expect_equal(resident, offloaded);
            EXPECT_EQ(resident.evaluations, offloaded.evaluations);
            ASSERT_EQ(offloaded.report.memory.peak_bytes, offloaded.report.memory.planned_bytes);
          }
        }
      }
    }
  }
}

TEST(Equality, MovingBlocksOrKeepingTheEmbeddingIsNotNumerics) {
  const Trace matrices = run(job_with({.granularity = Granularity::matrix}, DType::bf16, false, 4));
  expect_equal(matrices, run(job_with({.granularity = Granularity::block}, DType::bf16, false, 4)));
  expect_equal(matrices,
               run(job_with({.granularity = Granularity::block, .resident_embedding = true}, DType::bf16, false, 4)));
}

TEST(Equality, ANoiseBufferRoundsWhichInFp32ChangesNothing) {
  const Trace fused = run(job_with({}, DType::f32, true, 4));
  expect_equal(fused, run(job_with({.noise_buffer = true}, DType::f32, true, 4)));
  const Trace fused16 = run(job_with({}, DType::bf16, true, 4));
  const Trace rounded16 = run(job_with({.noise_buffer = true}, DType::bf16, true, 4));
  EXPECT_NE(fused16.entries[0].loss_plus, rounded16.entries[0].loss_plus);
  // One sign a weight needs no rounding.
  const auto rademacher = [&](bool noise_buffer) {
    TrainJob job = job_with({.noise_buffer = noise_buffer}, DType::bf16, true, 4);
    job.executor.noise = Distribution::rademacher;
    return run(std::move(job));
  };
  expect_equal(rademacher(false), rademacher(true));
}

TEST(Equality, EvaluationsNeverChangeTraining) {
  const auto make = [](int64_t eval_every) {
    TrainJob job = tiny_job(tiny_model(), DType::bf16, 12);
    job.plan.writeback_every = 4;
    Sequence sequence{{2, 5, 9, 11, 3}, {2, 5, 9, 11, 3}};
    job.evaluation = evaluation_of(std::vector<Sequence>{sequence});
    job.eval_every = eval_every;
    return run(std::move(job));
  };
  const Trace often = make(1);
  const Trace once = make(0);
  expect_equal(often, once);
  ASSERT_EQ(often.evaluations.size(), 12u);
  EXPECT_EQ(often.evaluations.back(), once.evaluations.back());
  EXPECT_NE(often.evaluations.front(), often.evaluations.back());
}

}  // namespace
}  // namespace zo2

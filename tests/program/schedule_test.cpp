// Sound schedules of every kind pass check_schedule. Wrong ones: schedule_mutation_test.cpp.
#include "program/schedule.h"

#include <algorithm>

#include "program/toy_model.h"

namespace zo2 {
namespace {

using namespace zo2::testing;

struct Case {
  bool tied;
  bool projected;
  int slots;
  bool overlap;
  int budget;  // 0: smallest, 1: half, 2: all
  int pairs;
};

// Plans with every combination; calls check(passes, case).
template <typename Check>
void for_each_case(const Check& check) {
  for (const Toy& toy : all_toys()) {
    for (int pairs : {1, 2}) {
      for (int slots : {2, 3, 4, 7}) {
        const int64_t low = ToyPasses(toy, toy_shape(pairs), slots, {}).layout.arena_bytes;
        const int64_t high = ToyPasses(toy, toy_shape(pairs), slots, {ArenaBudget::kAll}).layout.arena_bytes;
        for (int budget : {0, 1, 2}) {
          const int64_t bytes[] = {ArenaBudget::kSmallest, low + (high - low) / 2, ArenaBudget::kAll};
          const ToyPasses passes(toy, toy_shape(pairs), slots, {bytes[budget]});
          for (bool overlap : {true, false}) {
            check(passes, Case{toy.tied, toy.projected, slots, overlap, budget, pairs});
          }
        }
      }
    }
  }
}

std::string describe(const Case& c) {
  return fmt::format("tied {}, projected {}, slots {}, overlap {}, budget {}, pairs {}", c.tied, c.projected, c.slots,
                     c.overlap, c.budget, c.pairs);
}

TEST(Schedule, IsSoundForEveryModelSlotsOverlapBudgetAndPairs) {
  for_each_case([](const ToyPasses& passes, const Case& c) {
    for (int program : {0, 1, 2, 3}) {
      const std::vector<std::string> problems = passes.problems(program, passes.schedule(program, c.overlap));
      EXPECT_TRUE(problems.empty()) << describe(c) << ", program " << program << ": " << problems[0];
    }
  });
}

// As executors run it in a pass that commits none of the rare tiles: their operations left out, waits for them met.
Schedule without_rare(const Schedule& schedule) {
  Schedule kept;
  std::vector<int> place(schedule.ops.size(), -1);
  for (size_t at = 0; at < schedule.ops.size(); ++at) {
    if (schedule.ops[at].rare) continue;
    place[at] = static_cast<int>(kept.ops.size());
    kept.ops.push_back(schedule.ops[at]);
  }
  for (ScheduledOp& op : kept.ops) {
    std::erase_if(op.after, [&](const Dependency& after) { return place[after.op] < 0; });
    for (Dependency& after : op.after) after.op = place[after.op];
  }
  return kept;
}

TEST(Schedule, IsSoundInPassesThatLeaveOutRareTiles) {
  int left_out = 0;
  for_each_case([&](const ToyPasses& passes, const Case& c) {
    const Schedule schedule = passes.schedule(0, c.overlap);
    const Schedule kept = without_rare(schedule);
    left_out += static_cast<int>(schedule.ops.size() - kept.ops.size());
    const std::vector<std::string> problems = passes.problems(0, kept);
    EXPECT_TRUE(problems.empty()) << describe(c) << ": " << problems[0];
  });
  EXPECT_GT(left_out, 0);
}

TEST(Schedule, RunsEveryOperationOnceInProgramOrderLeavingOutCopiesOfResidentTiles) {
  for_each_case([](const ToyPasses& passes, const Case& c) {
    const Program& program = passes.programs[0];
    const Schedule schedule = passes.schedule(0, c.overlap);
    int next = 0;
    for (const ScheduledOp& scheduled : schedule.ops) {
      for (; next < scheduled.op; ++next) {
        const Op& left_out = program.ops[static_cast<size_t>(next)];
        ASSERT_TRUE(is_copy(left_out.kind) && passes.layout.resident(left_out.tile)) << describe(c);
      }
      const Op& op = program.ops[static_cast<size_t>(next++)];
      if (op.kind == OpKind::upload) {
        EXPECT_EQ(scheduled.stream, Stream::upload);
      } else {
        EXPECT_EQ(scheduled.stream, op.kind == OpKind::download ? Stream::download : Stream::compute);
      }
      if (is_copy(op.kind)) {
        EXPECT_FALSE(passes.layout.resident(op.tile));
      }
    }
    if (c.budget == 2) {
      for (const ScheduledOp& scheduled : schedule.ops) EXPECT_EQ(scheduled.stream, Stream::compute);
    }
  });
}

TEST(Schedule, IsSoundForEveryScheme) {
  for (Toy toy : all_toys()) {
    toy.layers = 5;  // more than slots
    for (const Scheme& scheme : all_schemes()) {
      for (int pairs : {1, 2}) {
        PassShape shape = toy_shape(pairs);
        shape.scheme = scheme;
        const int64_t low = ToyPasses(toy, shape, 3, {}).layout.arena_bytes;
        const int64_t high = ToyPasses(toy, shape, 3, {ArenaBudget::kAll}).layout.arena_bytes;
        for (int64_t budget : {ArenaBudget::kSmallest, low + (high - low) / 2, ArenaBudget::kAll}) {
          for (int slots : {2, 3}) {
            const ToyPasses passes(toy, shape, slots, {budget});
            for (int program : {0, 1, 2, 3}) {
              for (bool overlap : {true, false}) {
                const std::vector<std::string> problems = passes.problems(program, passes.schedule(program, overlap));
                EXPECT_TRUE(problems.empty()) << scheme_name(scheme) << ", budget " << budget << ": " << problems[0];
              }
            }
          }
        }
      }
    }
  }
}

TEST(Schedule, ABlockMovesAsOne) {
  Toy toy;
  toy.layers = 5;
  PassShape shape = toy_shape(2);
  shape.scheme.granularity = Granularity::block;
  constexpr int kSlots = 3;
  const ToyPasses passes(toy, shape, kSlots, {});
  const Program& program = passes.programs[0];
  const Schedule schedule = passes.schedule(0);
  const auto block_of = [&](int at) {
    const int tile = program.ops[static_cast<size_t>(schedule.ops[static_cast<size_t>(at)].op)].tile;
    return tile < 0 ? -1 : program.tiles[static_cast<size_t>(tile)].block;
  };
  std::vector<int> last_upload(5, -1), last_visit(5, -1), last_download(5, -1);
  for (int at = 0; at < static_cast<int>(schedule.ops.size()); ++at) {
    const ScheduledOp& scheduled = schedule.ops[static_cast<size_t>(at)];
    const int block = block_of(at);
    if (block < 0) continue;
    const OpKind kind = program.ops[static_cast<size_t>(scheduled.op)].kind;
    const bool first = kind == OpKind::upload && last_upload[static_cast<size_t>(block)] < 0;
    if (kind == OpKind::upload) last_upload[static_cast<size_t>(block)] = at;
    if (kind == OpKind::download) last_download[static_cast<size_t>(block)] = at;
    const auto waits_for = [&](int op) {
      return std::find(scheduled.after.begin(), scheduled.after.end(), Dependency{op, 0}) != scheduled.after.end();
    };
    if (kind == OpKind::visit) {
      last_visit[static_cast<size_t>(block)] = at;
      EXPECT_TRUE(waits_for(last_upload[static_cast<size_t>(block)])) << "block " << block;
    }
    if (kind == OpKind::download) {
      EXPECT_TRUE(waits_for(last_visit[static_cast<size_t>(block)])) << "block " << block;
    }
    if (first && block >= kSlots) {
      EXPECT_TRUE(waits_for(last_visit[static_cast<size_t>(block - kSlots)])) << "block " << block;
      EXPECT_TRUE(waits_for(last_download[static_cast<size_t>(block - kSlots)])) << "block " << block;
    }
  }
}

TEST(Schedule, AnUploadRunsAheadOfTheComputeByAsManySlotsAsThereAre) {
  // With S slots, upload n waits for the tile S before it in its ring and for no later one.
  const ToyPasses passes(Toy(), toy_shape(1), 4, {});
  const Program& program = passes.programs[0];
  const Schedule schedule = passes.schedule(0);
  std::vector<int> ring;  // tiles, in order of upload
  for (const ScheduledOp& scheduled : schedule.ops) {
    const Op& op = program.ops[static_cast<size_t>(scheduled.op)];
    const bool packed =
        op.tile >= 0 &&
        passes.table.weights[static_cast<size_t>(program.tiles[static_cast<size_t>(op.tile)].weight)].kind ==
            ParameterKind::vector;
    if (op.kind != OpKind::upload || packed) continue;
    for (const Dependency& after : scheduled.after) {
      const Op& other = program.ops[static_cast<size_t>(schedule.ops[static_cast<size_t>(after.op)].op)];
      if (after.passes_ago == 0) {
        ASSERT_GE(ring.size(), 4U);
        EXPECT_EQ(other.tile, ring[ring.size() - 4]);
      }
    }
    ring.push_back(op.tile);
  }
  EXPECT_GT(ring.size(), 20U);
}

TEST(Schedule, WithoutOverlapEveryOperationWaitsForTheOneBefore) {
  const ToyPasses passes(Toy(), toy_shape(1), 4, {});
  const Schedule schedule = passes.schedule(0, /*overlap=*/false);
  for (size_t at = 0; at < schedule.ops.size(); ++at) {
    const Dependency before =
        at > 0 ? Dependency{static_cast<int>(at) - 1, 0} : Dependency{static_cast<int>(schedule.ops.size()) - 1, 1};
    const auto& after = schedule.ops[at].after;
    EXPECT_NE(std::find(after.begin(), after.end(), before), after.end()) << at;
  }
}

}  // namespace
}  // namespace zo2

// The order that operations need of each other when everything is on the device, and no more than it.
#include "program/access.h"

#include <algorithm>

#include "program/toy_model.h"

namespace zo2 {
namespace {

using namespace zo2::testing;

using Order = std::vector<std::vector<int>>;

bool no_exclusive(const ScheduledOp& /*op*/) { return false; }

Order order_of(const ToyPasses& passes, int program, const std::function<bool(const ScheduledOp&)>& exclusive) {
  return memory_order(passes.table, passes.programs[static_cast<size_t>(program)], passes.layout, program,
                      passes.schedule(program), exclusive);
}

// follows[j][i]: j comes after i, directly or through others. Without `left_out`'s edge to `its`.
std::vector<std::vector<bool>> closure(const Order& order, int left_out = -1, int its = -1) {
  const size_t count = order.size();
  std::vector<std::vector<bool>> follows(count, std::vector<bool>(count));
  for (size_t at = 0; at < count; ++at) {
    for (int earlier : order[at]) {
      if (static_cast<int>(at) == left_out && earlier == its) continue;
      follows[at][static_cast<size_t>(earlier)] = true;
      for (size_t i = 0; i < count; ++i) {
        if (follows[static_cast<size_t>(earlier)][i]) follows[at][i] = true;
      }
    }
  }
  return follows;
}

// Runs the operations in another order that keeps to `order`, the latest that may run first, and checks it as the
// checker of schedules checks program order: what each reads was written by the operation that wrote it in program
// order.
TEST(MemoryOrder, AnyOrderThatKeepsToItReadsWhatProgramOrderReads) {
  for (const Toy& toy : all_toys()) {
    for (const Scheme& scheme : all_schemes()) {
      PassShape shape = toy_shape(2);
      shape.scheme = scheme;
      const ToyPasses passes(toy, shape, 4, {ArenaBudget::kAll});
      for (int program : {0, 1, 2, 3}) {
        SCOPED_TRACE(fmt::format("{}, program {}", scheme_name(scheme), program));
        const Schedule schedule = passes.schedule(program);
        const Order order = order_of(passes, program, no_exclusive);
        Schedule shuffled;
        std::vector<bool> done(order.size());
        while (shuffled.ops.size() < order.size()) {
          for (size_t at = order.size(); at-- > 0;) {
            const bool ready = !done[at] && std::ranges::all_of(order[at], [&](int earlier) {
              return static_cast<bool>(done[static_cast<size_t>(earlier)]);
            });
            if (!ready) continue;
            done[at] = true;
            shuffled.ops.push_back(schedule.ops[at]);
            break;
          }
        }
        const std::vector<std::string> problems = passes.problems(program, shuffled);
        EXPECT_TRUE(problems.empty()) << problems[0];
      }
    }
  }
}

TEST(MemoryOrder, HasNoDependencyThatOthersImply) {
  const ToyPasses passes(Toy(), toy_shape(1), 4, {ArenaBudget::kAll});
  const Order order = order_of(passes, 0, no_exclusive);
  for (size_t at = 0; at < order.size(); ++at) {
    EXPECT_TRUE(std::ranges::is_sorted(order[at]));
    for (int earlier : order[at]) {
      EXPECT_FALSE(closure(order, static_cast<int>(at), earlier)[at][static_cast<size_t>(earlier)])
          << at << " after " << earlier;
    }
  }
}

TEST(MemoryOrder, TheSidesOfAStepRunBesideEachOtherUnlessTheyShareSomethingElse) {
  const ToyPasses passes(Toy(), toy_shape(1), 4, {ArenaBudget::kAll});
  const Schedule schedule = passes.schedule(0);
  const auto& ops = passes.programs[0].ops;
  const auto is_linear = [&](const ScheduledOp& op) { return ops[static_cast<size_t>(op.op)].kind == OpKind::linear; };
  const auto beside = closure(order_of(passes, 0, no_exclusive));
  const auto apart = closure(order_of(passes, 0, is_linear));
  int pairs = 0;
  for (size_t at = 1; at < schedule.ops.size(); ++at) {
    const Op& op = ops[static_cast<size_t>(schedule.ops[at].op)];
    const Op& before = ops[static_cast<size_t>(schedule.ops[at - 1].op)];
    if (op.kind != OpKind::linear || before.kind != OpKind::linear || op.tile != before.tile) continue;
    EXPECT_FALSE(beside[at][at - 1]) << at;
    EXPECT_TRUE(apart[at][at - 1]) << at;
    ++pairs;
  }
  EXPECT_GT(pairs, 10);
}

}  // namespace
}  // namespace zo2

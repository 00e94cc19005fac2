// replay_commits and fold_pending against visits made one after another.
#include "runtime/replay.h"

#include <algorithm>
#include <cstring>

#include "program/testing.h"
#include "runtime/cpu/visit.h"
#include "store/load_weights.h"

namespace zo2 {
namespace {

using namespace zo2::testing;

ParameterTable replay_table() {
  ParameterTable table;
  table.add({0, "table", 100, 30, ParameterKind::table});
  table.add({64, "matrix", 700, 500});  // more than one job
  table.add_packed("vectors", {{65, "gamma", 1, 33, ParameterKind::vector, Initial::ones},
                               {66, "beta", 1, 50, ParameterKind::vector}});
  table.add({67, "small", 9, 7});
  return table;
}

std::vector<CommitRule> rules_with(int64_t period) {
  return {{16, 0}, {period, 1}, {period, 2}, {period, 3}};  // the table commits rarely
}

std::vector<LogEntry> entries_of(int64_t first, int64_t end, int pairs) {
  std::vector<LogEntry> entries;
  for (int64_t step = first; step < end; ++step) {
    for (int pair = 0; pair < pairs; ++pair) {
      LogEntry entry;
      entry.step = static_cast<uint32_t>(step);
      entry.pair = static_cast<uint16_t>(pair);
      entry.seed = seed_at(5, static_cast<uint64_t>(step));
      entry.alpha = 1e-3f * static_cast<float>(1 + (step * 7 + pair) % 5);
      entry.decay = pair == 0 ? 0.999f : 1.0f;
      entries.push_back(entry);
    }
  }
  return entries;
}

// Commits one weight: base <- round(fold(base, entries of steps [from, to))).
void commit(HostWeights& weights, const ExecutorSettings& settings, int weight, const std::vector<LogEntry>& entries,
            int64_t from, int64_t to) {
  std::vector<LogEntry> pending;
  for (const LogEntry& entry : entries) {
    if (entry.step >= from && entry.step < to) pending.push_back(entry);
  }
  if (pending.empty()) return;
  const FoldRules rules{&weights.table(), weights.dtype(), &settings};
  VisitOutput output;
  output.base = weights.data(weight);
  visit_elements(rules, weight, 0, weights.table().weights[static_cast<size_t>(weight)].count(), weights.data(weight),
                 pending, nullptr, output);
}

// A run of `steps` steps: every step commits what its rules say, with what has been logged before.
void run_by_hand(HostWeights& weights, const ExecutorSettings& settings, const std::vector<CommitRule>& rules,
                 const std::vector<LogEntry>& entries, int64_t steps) {
  std::vector<int64_t> held(rules.size(), 0);
  for (int64_t step = 0; step < steps; ++step) {
    for (size_t weight = 0; weight < rules.size(); ++weight) {
      if ((step + rules[weight].phase) % rules[weight].period != 0) continue;
      commit(weights, settings, static_cast<int>(weight), entries, held[weight], step);
      held[weight] = step;
    }
  }
}

struct Case {
  DType dtype;
  Rounding rounding;
  int64_t period;
  int pairs;
};
constexpr Case kCases[] = {{DType::f16, Rounding::nearest, 1, 1},
                           {DType::f16, Rounding::stochastic, 4, 1},
                           {DType::bf16, Rounding::stochastic, 3, 2},
                           {DType::f32, Rounding::nearest, 4, 1}};

TEST(Replay, TellsOfEveryElementThatIsDone) {
  HostWeights weights(replay_table(), DType::f32);
  std::vector<int64_t> heard;
  replay_commits(weights, rules_with(2), {}, entries_of(0, 5, 1), 1, 0, 5, [&](int64_t done, int64_t all) {
    EXPECT_EQ(all, weights.table().count());
    heard.push_back(done);
  });
  ASSERT_EQ(heard.size(), 5u);  // the matrix is two jobs
  EXPECT_TRUE(std::is_sorted(heard.begin(), heard.end()));
  EXPECT_EQ(heard.back(), weights.table().count());
}

TEST(Replay, ReachesTheBasesOfTheRunInOneGoOrInPieces) {
  constexpr int64_t kSteps = 19;
  for (const Case& c : kCases) {
    ExecutorSettings settings;
    settings.rounding = c.rounding;
    const std::vector<CommitRule> rules = rules_with(c.period);
    const std::vector<LogEntry> entries = entries_of(0, kSteps, c.pairs);
    HostWeights expected(replay_table(), c.dtype);
    initialise_weights(expected, 1, 0.02);
    const std::string initial = weights_hash(expected);
    run_by_hand(expected, settings, rules, entries, kSteps);
    EXPECT_NE(weights_hash(expected), initial);

    HostWeights at_once(replay_table(), c.dtype);
    initialise_weights(at_once, 1, 0.02);
    replay_commits(at_once, rules, settings, entries, c.pairs, 0, kSteps);
    EXPECT_EQ(weights_hash(at_once), weights_hash(expected));

    HostWeights in_pieces(replay_table(), c.dtype);
    initialise_weights(in_pieces, 1, 0.02);
    for (auto [from, to] : {std::pair<int64_t, int64_t>{0, 1}, {1, 6}, {6, 6}, {6, 17}, {17, kSteps}}) {
      // A resumed run may know the log from the oldest pending entry on only: the rare table's at most.
      const std::vector<LogEntry> known = entries_of(from < 16 ? 0 : from - 16, to, c.pairs);
      replay_commits(in_pieces, rules, settings, known, c.pairs, from, to);
    }
    EXPECT_EQ(weights_hash(in_pieces), weights_hash(expected));
  }
}

TEST(Replay, FoldPendingTurnsBasesIntoWt) {
  for (const Case& c : kCases) {
    for (int64_t steps : {0, 1, 7, 17}) {
      ExecutorSettings settings;
      settings.rounding = c.rounding;
      const std::vector<CommitRule> rules = rules_with(c.period);
      const std::vector<LogEntry> entries = entries_of(0, steps, c.pairs);
      HostWeights expected(replay_table(), c.dtype);
      initialise_weights(expected, 2, 0.02);
      run_by_hand(expected, settings, rules, entries, steps);
      HostWeights folded(replay_table(), c.dtype);
      initialise_weights(folded, 2, 0.02);
      replay_commits(folded, rules, settings, entries, c.pairs, 0, steps);
      ASSERT_EQ(weights_hash(folded), weights_hash(expected));

      for (size_t weight = 0; weight < rules.size(); ++weight) {
        int64_t newest = 0;
        for (int64_t step = 0; step < steps; ++step) {
          if ((step + rules[weight].phase) % rules[weight].period == 0) newest = step;
        }
        commit(expected, settings, static_cast<int>(weight), entries, newest, steps);
      }
      fold_pending(folded, rules, settings, entries, c.pairs, steps);
      EXPECT_EQ(weights_hash(folded), weights_hash(expected)) << steps << " steps";
    }
  }
}

// Folded a second time as another layer, the memory would not hold layer 1's values.
TEST(Replay, AliasedMemoryIsFoldedOnceAsItsOwner) {
  ParameterTable table;
  for (uint32_t layer = 1; layer <= 3; ++layer) table.add({layer * 64, fmt::format("matrix{}", layer), 700, 500});
  const std::vector<CommitRule> rules{{3, 0}, {3, 1}, {3, 2}};
  const ExecutorSettings settings;
  const std::vector<LogEntry> entries = entries_of(0, 8, 1);
  HostWeights exact(table, DType::f16);
  HostWeights aliased(table, DType::f16, HostWeightsKind::aliased);
  for (HostWeights* weights : {&exact, &aliased}) {
    initialise_weights(*weights, 4, 0.02);
    replay_commits(*weights, rules, settings, entries, 1, 0, 8);
    fold_pending(*weights, rules, settings, entries, 1, 8);
  }
  const auto bytes = static_cast<size_t>(exact.bytes(0));
  for (int w = 0; w < 3; ++w) EXPECT_EQ(std::memcmp(aliased.data(w), exact.data(0), bytes), 0) << w;
  EXPECT_NE(std::memcmp(exact.data(1), exact.data(0), bytes), 0);
}

TEST(Replay, ALogThatDoesNotReachBackToThePendingEntriesIsABug) {
  const ExecutorSettings settings;
  HostWeights weights(replay_table(), DType::f32);
  EXPECT_THROW(replay_commits(weights, rules_with(4), settings, entries_of(9, 12, 1), 1, 9, 12), InternalError);
  EXPECT_THROW(fold_pending(weights, rules_with(4), settings, entries_of(9, 11, 1), 1, 12), InternalError);
}

}  // namespace
}  // namespace zo2

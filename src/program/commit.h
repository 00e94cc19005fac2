// When a weight commits, as pure functions of the step: base <- round(fold(base, pending entries)).
//
// Weight m commits at the steps s with (s + m) mod K = 0, in the first pass of the step; a table that only gathers
// read commits every 64 / pairs steps. Between commits the entries of the step log stay pending and are replayed at
// every visit.
#pragma once

#include <cstdint>

namespace zo2 {

inline constexpr int64_t kMaxPendingEntries = 64;

struct CommitRule {
  int64_t period = 1;  // in steps
  int64_t phase = 0;   // the weight's ordinal

  // Whether the weight commits at this step (in its first pass).
  bool commits_at(int64_t step) const { return (step + phase) % period == 0; }

  // The number of steps whose entries the base already holds when the weight is read in `pass` of `step`.
  int64_t folded_steps(int64_t step, int64_t pass = 0) const {
    if (pass > 0 && commits_at(step)) return step;
    if (step == 0) return 0;
    const int64_t newest = step - 1 - (step - 1 + phase) % period;  // the newest commit before `step`
    return newest > 0 ? newest : 0;
  }
};

}  // namespace zo2

// Verdicts over records: are two runs equal to the bit, does an expectation hold.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "experiment/manifest.h"
#include "experiment/record.h"

namespace zo2 {

enum class Verdict : uint8_t { pass, fail, not_comparable, missing };
std::string_view verdict_name(Verdict verdict);  // "PASS", "FAIL", "NOT-COMPARABLE", "MISSING"

struct EqualityVerdict {
  std::string left;  // slug and repeat
  std::string right;
  Verdict verdict = Verdict::missing;
  std::string reason;    // what differs first; what was compared when equal
  int64_t steps = 0;     // compared
  bool pending = false;  // MISSING because of a run that was interrupted, or that has not the memory
};

// The part of a configuration that decides numbers: all but the method's name and the keys that are not numerics.
// Runs of resident and zo2 with equal cores must be equal to the bit.
std::string numeric_core(const Json& config);

// Share of steps in which every projected gradient is finite and not zero; 0 without steps.
double informative_fraction(const std::vector<StepSample>& samples);

// Among the resident and zo2 records that share a numeric core (repeats included), compares every one with the first
// resident one, or with the first where none is resident. A PASS needs samples equal to the bit (seeds, losses,
// gradients), equal initial and final weights, gradients finite and not zero in 90% of the steps, and final weights
// that differ from the initial ones. Tile sizes that `auto` chose differently and aliased weights are NOT-COMPARABLE.
std::vector<EqualityVerdict> check_equality(const std::vector<Record>& records);

struct ExpectationVerdict {
  Expectation expectation;
  std::string slug;  // of the record; empty when no record matches
  Verdict verdict = Verdict::missing;
  std::optional<double> value;  // of the worst repeat that counts
  std::string reason{};         // why there is no PASS or FAIL
  bool pending = false;         // MISSING because every repeat was interrupted, or no such cell has run
};
// A verdict for each cell that an expectation names. MISSING: no repeat ended with the figure. NOT-COMPARABLE: those
// that did were spoiled (comparable.h).
std::vector<ExpectationVerdict> check_expectations(const std::vector<Record>& records,
                                                   const std::vector<Expectation>& expectations);

// How many verdicts there are of each kind, in the order of Verdict.
struct VerdictCounts {
  std::array<int, 4> counts{};
  void add(Verdict verdict) { ++counts[static_cast<size_t>(verdict)]; }
  int of(Verdict verdict) const { return counts[static_cast<size_t>(verdict)]; }
};
VerdictCounts count_verdicts(const std::vector<EqualityVerdict>& equality,
                             const std::vector<ExpectationVerdict>& expectations);

}  // namespace zo2

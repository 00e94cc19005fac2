#include "experiment/check.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <map>

#include "base/error.h"
#include "experiment/comparable.h"
#include "experiment/config_schema.h"

namespace zo2 {
namespace {

constexpr double kInformativeFraction = 0.9;

std::string label(const Record& record) { return fmt::format("{} r{}", record.request.slug, record.request.repeat); }

bool same_bits(const std::vector<double>& a, const std::vector<double>& b) {
  return std::ranges::equal(a, b, {}, std::bit_cast<uint64_t, double>, std::bit_cast<uint64_t, double>);
}

// The first thing in which two steps differ; empty when they are equal to the bit.
std::string step_difference(const StepSample& a, const StepSample& b) {
  if (a.step != b.step) return fmt::format("step {} against step {}", a.step, b.step);
  if (a.seed != b.seed) return fmt::format("step {}: seed {} against {}", a.step, a.seed, b.seed);
  const auto differ = [&](const char* name, const std::vector<double>& x, const std::vector<double>& y) {
    return same_bits(x, y)
               ? std::string()
               : fmt::format("step {}: {} {} against {}", a.step, name, fmt::join(x, ", "), fmt::join(y, ", "));
  };
  for (const std::string& text :
       {differ("loss_plus", a.loss_plus, b.loss_plus), differ("loss_minus", a.loss_minus, b.loss_minus),
        differ("projected_gradient", a.projected_gradient, b.projected_gradient)}) {
    if (!text.empty()) return text;
  }
  return "";
}

bool may_end_early(const Record& record) { return config_at(record.request.config, "train.stop_within") != 0.0; }

struct Outcome {
  Verdict verdict;
  std::string reason;
  int64_t steps = 0;
  bool pending = false;
};

Outcome compare_runs(const Record& a, const Record& b) {
  for (const Record* record : {&a, &b}) {
    if (!has_figures(record->state)) {
      const bool pending = record->state == State::interrupted || record->state == State::oom;
      return {Verdict::missing, fmt::format("{} is {}", label(*record), state_name(record->state)), 0, pending};
    }
    if (is_aliased(*record)) return {Verdict::not_comparable, "host weights are aliased"};
  }
  const auto tile_a = a.bytes("tile_bytes");
  const auto tile_b = b.bytes("tile_bytes");
  if (tile_a && tile_b && *tile_a != *tile_b) {
    return {Verdict::not_comparable, fmt::format("tiles of {} and {} bytes", *tile_a, *tile_b)};
  }
  const std::vector<StepSample> left = read_samples(a.folder);
  const std::vector<StepSample> right = read_samples(b.folder);
  const auto steps = static_cast<int64_t>(std::min(left.size(), right.size()));
  if (steps == 0) return {Verdict::missing, "no samples"};
  for (size_t i = 0; i < static_cast<size_t>(steps); ++i) {
    const std::string difference = step_difference(left[i], right[i]);
    if (!difference.empty()) return {Verdict::fail, difference, steps};
  }
  if (left.size() != right.size()) {
    const std::string lengths = fmt::format("{} steps against {}", left.size(), right.size());
    if (!may_end_early(a) && !may_end_early(b)) return {Verdict::fail, lengths, steps};
    return {Verdict::not_comparable, lengths + ", ended by train.stop_within: equal in those that both ran", steps};
  }
  for (const char* name : {"initial_weights", "final_weights"}) {
    if (a.hash(name).empty() || b.hash(name).empty()) {
      return {Verdict::missing, fmt::format("no hash of {}", name), steps};
    }
    if (a.hash(name) != b.hash(name)) return {Verdict::fail, fmt::format("{} differ", name), steps};
  }
  if (a.hash("initial_weights") == a.hash("final_weights")) {
    return {Verdict::not_comparable, "the weights never changed", steps};
  }
  const double fraction = informative_fraction(left);
  if (fraction < kInformativeFraction) {
    return {Verdict::not_comparable,
            fmt::format("gradients are finite and non-zero in {:.0f}% of the steps only", 100 * fraction), steps};
  }
  return {Verdict::pass, fmt::format("losses, gradients and final weights equal to the bit, {} steps", steps), steps};
}

// How far the value is inside the nearer bound; below 0 when it breaks one, least of all when it is no number.
double room(const Expectation& expectation, double value) {
  double room = std::numeric_limits<double>::infinity();
  if (expectation.at_most) room = std::min(room, *expectation.at_most - value);
  if (expectation.at_least) room = std::min(room, value - *expectation.at_least);
  return std::isnan(value) ? -std::numeric_limits<double>::infinity() : room;
}

// Why the record has no figure of the metric that counts; empty when it has one.
std::string why_not(const Record& record, const std::string& name) {
  if (!has_figures(record.state)) return std::string(state_name(record.state));
  const Metric* metric = find_metric(name);
  if (metric == nullptr || !record.metric(name)) return "the record does not have it";
  return spoiled(record, *metric);
}

}  // namespace

std::string_view verdict_name(Verdict verdict) {
  constexpr std::array<std::string_view, 4> kNames{"PASS", "FAIL", "NOT-COMPARABLE", "MISSING"};
  return kNames[static_cast<size_t>(verdict)];
}

std::string numeric_core(const Json& config) {
  Json core = config;
  for (const KeySpec& spec : config_schema()) {
    if (!spec.numerics || spec.key == "method.name") config_set(core, spec.key, nullptr);
  }
  return core.dump();
}

double informative_fraction(const std::vector<StepSample>& samples) {
  if (samples.empty()) return 0;
  const auto informative = std::ranges::count_if(samples, [](const StepSample& sample) {
    return std::ranges::all_of(sample.projected_gradient, [](double g) { return std::isfinite(g) && g != 0; });
  });
  return static_cast<double>(informative) / static_cast<double>(samples.size());
}

std::vector<EqualityVerdict> check_equality(const std::vector<Record>& records) {
  std::map<std::string, const Record*> reference;  // by numeric core: the first resident one, else the first
  const auto takes_part = [](const Record& record) {
    const Json& method = config_at(record.request.config, "method.name");
    return (method == "resident" || method == "zo2") && record.state != State::projected &&
           record.state != State::skipped;
  };
  const auto is_resident = [](const Record& record) {
    return config_at(record.request.config, "method.name") == "resident";
  };
  for (const Record& record : records) {
    if (!takes_part(record)) continue;
    const Record*& chosen = reference[numeric_core(record.request.config)];
    if (chosen == nullptr || (is_resident(record) && !is_resident(*chosen))) chosen = &record;
  }
  std::vector<EqualityVerdict> verdicts;
  for (const Record& record : records) {
    if (!takes_part(record)) continue;
    const Record* chosen = reference[numeric_core(record.request.config)];
    if (chosen == &record) continue;
    const Outcome outcome = compare_runs(*chosen, record);
    verdicts.push_back(
        {label(*chosen), label(record), outcome.verdict, outcome.reason, outcome.steps, outcome.pending});
  }
  return verdicts;
}

std::vector<ExpectationVerdict> check_expectations(const std::vector<Record>& records,
                                                   const std::vector<Expectation>& expectations) {
  std::vector<ExpectationVerdict> verdicts;
  for (const Expectation& expectation : expectations) {
    std::map<std::string, size_t> by_cell;  // config hash -> index in verdicts
    for (const Record& record : records) {
      if (record.state == State::skipped || !matches(expectation.where, record.request.config)) continue;
      const auto [found, fresh] = by_cell.emplace(record.request.config_hash, verdicts.size());
      if (fresh) verdicts.push_back({expectation, record.request.slug, Verdict::missing, std::nullopt, "", true});
      ExpectationVerdict& verdict = verdicts[found->second];
      verdict.pending = verdict.pending && record.state == State::interrupted;
      const std::string reason = why_not(record, expectation.metric);
      if (!reason.empty()) {
        // A figure that was spoiled says more than one that is not there.
        const bool is_spoiled = has_figures(record.state) && record.metric(expectation.metric);
        if (!verdict.value && (is_spoiled || verdict.reason.empty())) {
          verdict.verdict = is_spoiled ? Verdict::not_comparable : Verdict::missing;
          verdict.reason = reason;
        }
        continue;
      }
      const double value = *record.metric(expectation.metric);
      if (!verdict.value || room(expectation, value) < room(expectation, *verdict.value)) verdict.value = value;
      verdict.verdict = room(expectation, *verdict.value) >= 0 ? Verdict::pass : Verdict::fail;
      verdict.reason.clear();
    }
    if (by_cell.empty())
      verdicts.push_back({expectation, "", Verdict::missing, std::nullopt, "no such cell has run", true});
  }
  return verdicts;
}

VerdictCounts count_verdicts(const std::vector<EqualityVerdict>& equality,
                             const std::vector<ExpectationVerdict>& expectations) {
  VerdictCounts counts;
  for (const EqualityVerdict& verdict : equality) counts.add(verdict.verdict);
  for (const ExpectationVerdict& verdict : expectations) counts.add(verdict.verdict);
  return counts;
}

}  // namespace zo2

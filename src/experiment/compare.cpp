#include "experiment/compare.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "base/error.h"
#include "experiment/cell_name.h"
#include "experiment/comparable.h"
#include "experiment/config_schema.h"
#include "experiment/environment_values.h"
#include "experiment/record_folder.h"
#include "experiment/statistics.h"

namespace zo2 {
namespace {

constexpr std::array<std::string_view, 4> kHeadline{"tokens_per_s", "nvml_step_peak_bytes", "arena_bytes",
                                                    "host_rss_peak_bytes"};

struct SideCell {
  std::vector<const Record*> repeats;
  // The first repeat that has figures, which says on what machine it ran; else the first.
  const Record& first() const {
    const auto good = std::ranges::find_if(repeats, [](const Record* record) { return has_figures(record->state); });
    return good == repeats.end() ? *repeats[0] : **good;
  }
};

// In the order of the records; a forecast is not a run.
std::vector<SideCell> cells_of(const CompareSide& side) {
  std::vector<SideCell> cells;
  for (const std::vector<size_t>& repeats : by_cell(side.records)) {
    SideCell cell;
    for (size_t i : repeats) {
      const Record& record = side.records[i];
      if (record.state != State::projected && record.state != State::skipped) cell.repeats.push_back(&record);
    }
    if (!cell.repeats.empty()) cells.push_back(std::move(cell));
  }
  return cells;
}

// The keys that `ignore` names, sections spelled out.
std::set<std::string> ignored_keys(const std::set<std::string>& ignore) {
  std::set<std::string> keys;
  for (const std::string& name : ignore) {
    const size_t before = keys.size();
    for (const KeySpec& spec : config_schema()) {
      if (spec.key == name || spec.key.starts_with(name + ".")) keys.emplace(spec.key);
    }
    ZO2_CHECK(keys.size() > before || find_key(name) != nullptr, UsageError, "--ignore: unknown key '{}'{}", name,
              did_you_mean(nearest_key(name)));
  }
  return keys;
}

// A record of another system tells some of its keys only (import.h), and beside one a key that is unset, which stands
// for what the family of models has, tells nothing either.
bool tells(const Record& record, const Record& other, std::string_view key) {
  if (record.system().empty()) return other.system().empty() || !config_at(record.request.config, key).is_null();
  const auto given = record.result.at("imported").at("given").get<std::vector<std::string>>();
  return std::ranges::find(given, key) != given.end();
}

// Of the keys that both tell.
std::vector<Difference> config_differences(const Record& left, const Record& right) {
  std::vector<Difference> differences;
  for (const KeySpec& spec : config_schema()) {
    const Json& a = config_at(left.request.config, spec.key);
    const Json& b = config_at(right.request.config, spec.key);
    if (a == b || !tells(left, right, spec.key) || !tells(right, left, spec.key)) continue;
    differences.push_back({std::string(spec.key), json_text(a), json_text(b)});
  }
  return differences;
}

// Every member of env.json that is not the same set of values on both sides.
std::vector<Difference> environment_differences(const CompareSide& left, const CompareSide& right) {
  std::map<std::string, std::array<std::set<std::string>, 2>> both;
  for (auto& [key, values] : environment_values(left.records)) both[key][0] = values;
  for (auto& [key, values] : environment_values(right.records)) both[key][1] = values;
  std::vector<Difference> differences;
  for (const auto& [key, sides] : both) {
    if (sides[0] != sides[1]) differences.push_back({key, joined(sides[0]), joined(sides[1])});
  }
  return differences;
}

// The values that count, and why there are none.
std::pair<std::vector<double>, std::string> counting_values(const SideCell& cell, const Metric& metric) {
  std::vector<double> values;
  std::string reason;
  for (const Record* record : cell.repeats) {
    const std::optional<double> value = record->metric(metric.name);
    std::string why = has_figures(record->state) ? spoiled(*record, metric) : std::string(state_name(record->state));
    if (!value && why.empty()) why = "no figure";
    if (why.empty()) {
      values.push_back(*value);
    } else {
      reason = why;
    }
  }
  if (!values.empty()) reason.clear();
  return {std::move(values), std::move(reason)};
}

bool all_equal(const std::vector<double>& values) {
  return std::ranges::all_of(values, [&](double value) { return value == values[0]; });
}

// A failed repeat has no figures, whatever it left behind.
bool has_metric(const SideCell& cell, std::string_view name) {
  return std::ranges::any_of(cell.repeats, [&](const Record* record) {
    return has_figures(record->state) && record->metric(name).has_value();
  });
}

// "3 crashed", when no repeat has figures and not all were interrupted; else empty.
std::string failure_of(const SideCell& cell) {
  std::vector<State> states;
  for (const Record* record : cell.repeats) states.push_back(record->state);
  const bool unfinished = std::ranges::all_of(states, [](State state) { return state == State::interrupted; });
  return unfinished || std::ranges::any_of(states, has_figures) ? "" : state_counts(states);
}

MetricComparison compare_metric(const SideCell& left, const SideCell& right, const Metric& metric, double threshold,
                                const std::set<std::string>& ignore) {
  MetricComparison result;
  result.metric = &metric;
  std::string why_left;
  std::string why_right;
  std::tie(result.left, why_left) = counting_values(left, metric);
  std::tie(result.right, why_right) = counting_values(right, metric);
  if (result.left.empty() || result.right.empty()) {
    const bool is_spoiled = has_metric(left, metric.name) && has_metric(right, metric.name);
    result.change = is_spoiled ? Change::not_comparable : Change::missing;
    result.reason =
        fmt::format("{}{}{}", why_left.empty() ? "" : "A: " + why_left,
                    why_left.empty() || why_right.empty() ? "" : ", ", why_right.empty() ? "" : "B: " + why_right);
    return result;
  }
  if (mean(result.left) > 0 && std::isfinite(mean(result.left))) result.ratio = mean(result.right) / mean(result.left);
  result.reason = difference(subject_of(left.first()), subject_of(right.first()), metric, ignore);
  if (!result.reason.empty()) {
    result.change = Change::not_comparable;
    return result;
  }
  if (std::min(result.left.size(), result.right.size()) < kLeastForInterval) {
    result.change = Change::too_few;
    return result;
  }
  result.interval = ratio_interval(result.right, result.left);
  if (result.interval) {
    result.change = judge(*result.interval, metric.better, threshold);
  } else if (all_equal(result.left) && result.left[0] == result.right[0] && all_equal(result.right)) {
    result.change = Change::same;  // 0 on both sides
  } else {
    result.change = Change::not_comparable;
    result.reason = "not all values are finite and above 0";
  }
  return result;
}

std::vector<const Metric*> chosen_metrics(const CompareOptions& options) {
  std::vector<const Metric*> metrics;
  for (std::string_view name : kHeadline) {
    if (options.metrics.empty()) metrics.push_back(find_metric(name));
  }
  for (const std::string& name : options.metrics) {
    metrics.push_back(find_metric(name));
    ZO2_CHECK(metrics.back() != nullptr, UsageError, "unknown metric '{}'{}", name, did_you_mean(nearest_metric(name)));
  }
  return metrics;
}

using Pairs = std::vector<std::pair<size_t, size_t>>;

// Indices of matching cells; a cell with an equal one on the other side matches nothing else.
Pairs match(const std::vector<SideCell>& left, const std::vector<SideCell>& right,
            const std::set<std::string>& ignore) {
  std::map<std::string, size_t> by_hash;
  for (size_t j = 0; j < right.size(); ++j) by_hash.emplace(right[j].first().request.config_hash, j);
  Pairs pairs;
  std::set<size_t> left_over;
  std::set<size_t> right_over;
  for (size_t j = 0; j < right.size(); ++j) right_over.insert(j);
  for (size_t i = 0; i < left.size(); ++i) {
    const auto found = by_hash.find(left[i].first().request.config_hash);
    if (found == by_hash.end()) {
      left_over.insert(i);
    } else {
      pairs.emplace_back(i, found->second);
      right_over.erase(found->second);
    }
  }
  const auto equal_but_for_ignored = [&](const Record& a, const Record& b) {
    return std::ranges::all_of(config_differences(a, b),
                               [&](const Difference& difference) { return ignore.contains(difference.key); });
  };
  for (size_t i : left_over) {
    for (size_t j : right_over) {
      if (equal_but_for_ignored(left[i].first(), right[j].first())) pairs.emplace_back(i, j);
    }
  }
  std::ranges::sort(pairs);
  return pairs;
}

}  // namespace

CompareSide read_side(const std::string& text) {
  CompareSide side{.text = text, .records = {}};
  const size_t colon = text.rfind(':');
  const bool named = colon != std::string::npos && !std::filesystem::exists(text);
  side.records = read_record_folder(named ? text.substr(0, colon) : text).records;
  if (!named) return side;
  std::vector<CellName> cells;
  for (const Record& record : side.records) cells.push_back(name_of(record));
  const std::string folder = find_cell(cells, text.substr(colon + 1), text.substr(0, colon));
  std::erase_if(side.records, [&](const Record& record) { return name_of(record).folder != folder; });
  side.one_cell = true;
  return side;
}

std::string_view change_name(Change change) {
  constexpr std::array<std::string_view, 7> kNames{"worse",           "better",         "same",   "unclear",
                                                   "too few repeats", "NOT-COMPARABLE", "MISSING"};
  return kNames[static_cast<size_t>(change)];
}

Change judge(const Interval& ratio, Better better, double threshold) {
  const double least = 1 - threshold;
  const double most = 1 + threshold;
  if (ratio.low >= least && ratio.high <= most) return Change::same;
  if (better == Better::neither || (ratio.low <= most && ratio.high >= least)) return Change::unclear;
  return (ratio.low > most) == (better == Better::higher) ? Change::better : Change::worse;
}

bool Comparison::any_worse() const {
  return std::ranges::any_of(cells, [](const CellComparison& cell) {
    return std::ranges::any_of(cell.metrics,
                               [](const MetricComparison& metric) { return metric.change == Change::worse; });
  });
}

bool Comparison::any_failed() const {
  return std::ranges::any_of(
      cells, [](const CellComparison& cell) { return cell.left_failed.empty() != cell.right_failed.empty(); });
}

Comparison compare(const CompareSide& left, const CompareSide& right, const CompareOptions& options) {
  const std::vector<const Metric*> metrics = chosen_metrics(options);
  const std::set<std::string> ignore = ignored_keys(options.ignore);
  const std::vector<SideCell> left_cells = cells_of(left);
  const std::vector<SideCell> right_cells = cells_of(right);
  const bool one_each = left.one_cell && right.one_cell && left_cells.size() == 1 && right_cells.size() == 1;
  const Pairs pairs = one_each ? Pairs{{0, 0}} : match(left_cells, right_cells, ignore);

  Comparison result;
  result.left = left.text;
  result.right = right.text;
  result.threshold = options.threshold;
  std::set<size_t> matched_left;
  std::set<size_t> matched_right;
  for (const auto& [i, j] : pairs) {
    const SideCell& a = left_cells[i];
    const SideCell& b = right_cells[j];
    matched_left.insert(i);
    matched_right.insert(j);
    CellComparison cell{.left = a.first().request.slug,
                        .right = b.first().request.slug,
                        .left_failed = failure_of(a),
                        .right_failed = failure_of(b),
                        .config = config_differences(a.first(), b.first()),
                        .metrics = {}};
    for (const Metric* metric : metrics) {
      const bool asked = !options.metrics.empty();
      if (!asked && !has_metric(a, metric->name) && !has_metric(b, metric->name)) continue;
      cell.metrics.push_back(compare_metric(a, b, *metric, options.threshold, ignore));
    }
    result.cells.push_back(std::move(cell));
  }
  for (size_t i = 0; i < left_cells.size(); ++i) {
    if (!matched_left.contains(i)) result.only_left.push_back(left_cells[i].first().request.slug);
  }
  for (size_t j = 0; j < right_cells.size(); ++j) {
    if (!matched_right.contains(j)) result.only_right.push_back(right_cells[j].first().request.slug);
  }
  if (result.cells.empty()) {
    std::vector<std::string> keys;
    if (!left_cells.empty() && !right_cells.empty()) {
      for (const Difference& difference : config_differences(left_cells[0].first(), right_cells[0].first())) {
        keys.push_back(difference.key);
      }
    }
    throw UsageError(
        fmt::format("no cell of {} has the configuration of one of {}; their first cells differ in {}: "
                    "let differences pass with --ignore KEY, or name one cell a side as DIR:CELL",
                    left.text, right.text, fmt::join(keys, ", ")));
  }
  result.environment = environment_differences(left, right);
  return result;
}

}  // namespace zo2

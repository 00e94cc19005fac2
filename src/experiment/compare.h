// Compares two sets of records cell by cell, with the process (the repeat) as the unit of replication.
//
// Cells match when their config_hash is equal; of what is left, every two that differ in no key but those in `ignore`,
// an imported cell (import.h) having the keys only that it tells. With five values a side a metric gets an interval for
// the ratio of means (bootstrap.h) and a verdict by it; with fewer there is none. Figures count and are comparable as
// comparable.h says.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "experiment/bootstrap.h"
#include "experiment/metrics.h"
#include "experiment/record.h"
#include "experiment/table.h"

namespace zo2 {

// One side: DIR (which can be DIR/imported/NAME), or DIR:CELL with a cell's name (cell_name.h).
struct CompareSide {
  std::string text;  // as written
  std::vector<Record> records;
  bool one_cell = false;  // DIR:CELL
};
// Throws IoError without records; UsageError when no cell, or more than one, has the name.
CompareSide read_side(const std::string& text);

struct CompareOptions {
  double threshold = 0.02;           // of the ratio
  std::vector<std::string> metrics;  // empty: the headline metrics that a side has
  std::set<std::string> ignore;      // dotted keys, or whole sections ("method")
};

// What became of a metric from the left side to the right one.
enum class Change : uint8_t {
  worse,           // the whole interval is worse by more than the threshold
  better,          // the whole interval is better by more than the threshold
  same,            // the whole interval is within the threshold
  unclear,         // the interval reaches over the threshold's edge: more repeats would tell
  too_few,         // fewer than five values a side
  not_comparable,  // see reason
  missing,         // one side has no figure: see reason
};
std::string_view change_name(Change change);

// By the interval for right / left. Without a direction of better there is no worse: unclear at most.
Change judge(const Interval& ratio, Better better, double threshold);

struct MetricComparison {
  const Metric* metric = nullptr;
  std::vector<double> left;  // of the repeats whose figure counts
  std::vector<double> right;
  std::optional<double> ratio;  // mean of right over mean of left
  std::optional<Interval> interval;
  Change change = Change::missing;
  std::string reason;
};

// A key with what each side has: "method.writeback_every", "1", "8".
struct Difference {
  std::string key;
  std::string left;
  std::string right;
};

struct CellComparison {
  std::string left;  // slugs
  std::string right;
  // How the side's repeats ended when none has figures: "3 crashed".
  std::string left_failed;
  std::string right_failed;
  std::vector<Difference> config;
  std::vector<MetricComparison> metrics;
};

struct Comparison {
  std::string left;
  std::string right;
  double threshold = 0;
  std::vector<CellComparison> cells;
  std::vector<std::string> only_left;  // slugs of cells without a match
  std::vector<std::string> only_right;
  std::vector<Difference> environment;

  bool any_worse() const;
  // A cell has figures on one side, and failed in every repeat on the other.
  bool any_failed() const;
};

// Two sides that are one cell each are compared whatever differs in their configurations. Throws UsageError for unknown
// metrics and keys, and when nothing matches.
Comparison compare(const CompareSide& left, const CompareSide& right, const CompareOptions& options);

std::vector<Table> to_tables(const Comparison& comparison);
Json to_json(const Comparison& comparison);

}  // namespace zo2

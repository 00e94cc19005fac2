// What `zo2 report` shows, as data: measured cells, equality, ratios, projections, figures of other systems beside ours
// and expectations. Built from records only.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "experiment/beside.h"
#include "experiment/check.h"
#include "experiment/reference.h"
#include "experiment/table.h"

namespace zo2 {

// The records of one cell that ran, or failed to. Records are named by their index in Report::records.
struct MeasuredCell {
  size_t first = 0;  // the first repeat that has figures, else the first one: its configuration is the cell's
  std::vector<size_t> repeats;
  std::vector<double> tokens_per_s;  // of the repeats whose speed counts (comparable.h)
  std::optional<double> median_tokens_per_s;
};

// What records say that is no figure: an error, a reason, a warning.
struct Remark {
  std::vector<int> repeats;  // that say it; empty when all of the cell's do
  std::string text;          // "crashed: ended with exit code 7"
};

// Of the medians of tokens_per_s of two cells that differ only in method and in keys that are not numerics.
struct SpeedRatio {
  std::string methods;    // "zo2/resident"
  std::string numerator;  // slugs
  std::string denominator;
  double value = 0;
};

struct Report {
  std::string name;
  std::vector<Record> records;
  size_t older_records = 0;  // this and the next two: see RecordFolder
  std::vector<std::string> not_run;
  std::vector<std::string> run_arguments;
  std::vector<MeasuredCell> measured;
  std::vector<EqualityVerdict> equality;
  std::vector<SpeedRatio> ratios;
  std::vector<size_t> projected;  // indices of records
  std::vector<BesideFigure> beside;
  std::vector<ExpectationVerdict> expectations;
};

// Of the records that read_record_folder reads. `figures`, which may be empty, and what was imported into DIR stand
// beside them.
Report build_report(const std::filesystem::path& dir, const std::vector<ReferenceFigure>& figures, bool all = false);

// How the cell's repeats ended: "ok", or "2 ok, 1 crashed" when they differ.
std::string state_text(const Report& report, const MeasuredCell& cell);
// The median of the figures that count (comparable.h) of the cell's repeats, for a metric of the table.
std::optional<double> median_figure(const Report& report, const MeasuredCell& cell, std::string_view metric);
// Over all repeats of the cell, each once.
std::vector<Remark> remarks(const Report& report, const MeasuredCell& cell);

// Cells of which every repeat failed, not for want of memory alone: "opt-13b-mezo (3 crashed)"; and those that have no
// figures because a run was interrupted, which the next one begins again.
std::vector<std::string> failed_cells(const Report& report);
std::vector<std::string> interrupted_cells(const Report& report);

// In the order they are to be read; those without rows are left out.
std::vector<Table> to_tables(const Report& report);
// Only equality, what stands beside and expectations, as tables and as JSON: what `zo2 check` shows.
std::vector<Table> verdict_tables(const Report& report);
Json verdicts_json(const Report& report);
Json to_json(const Report& report);

}  // namespace zo2

// The report's tables: how its data is shown to people. Sizes in MiB and GiB. A cell's figure is the median of its
// repeats' figures that count (comparable.h); "-" where there is none. A column that says the same in every row goes
// into the title.
#include <algorithm>
#include <set>

#include "base/bytes.h"
#include "base/error.h"
#include "experiment/comparable.h"
#include "experiment/config_schema.h"
#include "experiment/metrics.h"
#include "experiment/report.h"

namespace zo2 {
namespace {

constexpr std::string_view kAliasedNote =
    "* aliased host weights: layers share one layer's memory; device memory and speed are true ones, losses are not";

std::string text_of(const Record& record, std::string_view key) {
  return json_text(config_at(record.request.config, key));
}

std::string shape_of(const Record& record) {
  return fmt::format("{} x {}", text_of(record, "data.batch"), text_of(record, "data.seq"));
}

std::string cell_name(const Record& record) { return record.request.slug + (is_aliased(record) ? " *" : ""); }

std::string mib(std::optional<double> bytes) {
  return bytes ? fmt::format("{:.1f}", *bytes / static_cast<double>(kMiB)) : "-";
}

std::string number(std::optional<double> value) {
  if (!value) return "-";
  return *value >= 100 ? fmt::format("{:.0f}", *value) : fmt::format("{:.4g}", *value);
}

// "80 to 100, n=3"; "-" for one value or none.
std::string spread_text(const std::vector<double>& values) {
  if (values.size() < 2) return "-";
  const auto [low, high] = std::ranges::minmax(values);
  return fmt::format("{} to {}, n={}", number(low), number(high), values.size());
}

// Whether the measured arena is the planned one; every difference, when the repeats have several.
std::string plan_text(const Report& report, const MeasuredCell& cell) {
  std::set<std::string> texts;
  for (const size_t i : cell.repeats) {
    const Record& record = report.records[i];
    const auto planned = record.bytes("arena_planned_bytes");
    const auto measured = record.bytes("arena_bytes");
    if (!has_figures(record.state) || !planned || !measured) continue;
    texts.insert(*planned == *measured ? "equal" : fmt::format("{:+} B", *measured - *planned));
  }
  return texts.empty() ? "-" : fmt::format("{}", fmt::join(texts, ", "));
}

std::string loss_text(const Report& report, const MeasuredCell& cell) {
  const auto first = median_figure(report, cell, "loss_first");
  const auto last = median_figure(report, cell, "loss_last");
  return first && last ? fmt::format("{:.5f} -> {:.5f}", *first, *last) : "-";
}

// "85.7 +- 1.2": a share in percent, with its standard error.
std::string share_text(const Report& report, const MeasuredCell& cell, const std::string& metric) {
  const auto share = median_figure(report, cell, metric);
  const auto error = median_figure(report, cell, metric + "_error");
  return share && error ? fmt::format("{:.1f} +- {:.1f}", 100 * *share, 100 * *error) : "-";
}

std::string roofline_text(const Report& report, const MeasuredCell& cell) {
  const auto efficiency = median_figure(report, cell, "roofline_efficiency");
  const bool streams = text_of(report.records[cell.first], "method.name") == "zo2";
  return efficiency && streams ? fmt::format("{:.3f}", *efficiency) : "-";
}

void note_remarks(const Report& report, const MeasuredCell& cell, Table& table) {
  const Record& record = report.records[cell.first];
  for (const Remark& remark : remarks(report, cell)) {
    // The star's note says it.
    if (is_aliased(record) && remark.text.starts_with("warning: host weights are aliased")) continue;
    const std::string which = remark.repeats.empty() ? "" : fmt::format(" r{}", fmt::join(remark.repeats, ", r"));
    table.notes.push_back(fmt::format("{}{}: {}", record.request.slug, which, remark.text));
  }
}

Table measured_table(const Report& report) {
  const std::string system = report.records[0].system();
  Table table{
      .title = system.empty() ? "Measured" : fmt::format("Imported from {}, not measured here", system),
      .columns = {"cell", "model", "method", "dtype", "batch x seq", "state", "tok/s", "of", "p50 ms", "arena MiB",
                  "plan", "NVML MiB", "roofline", "host MiB", "loss first -> last", "test accuracy %", "test F1 %"},
      .rows = {},
      .notes = {}};
  std::set<std::vector<std::string>> shapes;
  bool any_aliased = false;
  for (const MeasuredCell& cell : report.measured) {
    const Record& record = report.records[cell.first];
    any_aliased = any_aliased || is_aliased(record);
    std::vector<std::string> shape{record.model(), text_of(record, "method.name"), text_of(record, "engine.dtype"),
                                   shape_of(record)};
    shapes.insert(shape);
    std::vector<std::string> row{cell_name(record)};
    row.insert(row.end(), shape.begin(), shape.end());
    const auto median_of = [&](std::string_view metric) { return median_figure(report, cell, metric); };
    row.insert(row.end(), {state_text(report, cell), number(cell.median_tokens_per_s), spread_text(cell.tokens_per_s),
                           number(median_of("step_ms_p50")), mib(median_of("arena_bytes")), plan_text(report, cell),
                           mib(median_of("nvml_step_peak_bytes")), roofline_text(report, cell),
                           mib(median_of("host_rss_peak_bytes")), loss_text(report, cell),
                           share_text(report, cell, "test_accuracy"), share_text(report, cell, "test_f1")});
    table.rows.push_back(std::move(row));
    note_remarks(report, cell, table);
  }
  if (any_aliased) table.notes.insert(table.notes.begin(), std::string(kAliasedNote));
  if (report.older_records > 0) {
    table.notes.push_back(
        fmt::format("{} records of earlier runs are left out: --all shows them", report.older_records));
  }
  if (!report.not_run.empty()) {
    table.notes.push_back(fmt::format("no record yet of {}", fmt::join(report.not_run, ", ")));
  }
  drop_empty_columns(table, {"of", "tok/s", "p50 ms", "NVML MiB", "roofline", "test accuracy %", "test F1 %"});
  if (shapes.size() == table.rows.size() && !any_aliased) {  // these four tell the rows apart: no need for slugs
    erase_column(table, 0);
  } else {  // a slug begins with model and method
    erase_column(table, 1);
    erase_column(table, 1);
  }
  if (table.rows.size() > 1) move_to_title(table, {"dtype", "batch x seq", "state", "plan"});
  return table;
}

Table equality_table(const Report& report) {
  Table table{.title = "Equality: the same numbers wherever the weights live",
              .columns = {"run", "and", "verdict", "steps", "why not"},
              .rows = {},
              .notes = {}};
  bool any_pass = false;
  for (const EqualityVerdict& verdict : report.equality) {
    const bool pass = verdict.verdict == Verdict::pass;
    any_pass = any_pass || pass;
    table.rows.push_back({verdict.left, verdict.right, std::string(verdict_name(verdict.verdict)),
                          fmt::format("{}", verdict.steps), pass ? "-" : verdict.reason});
  }
  if (any_pass) table.notes.emplace_back("PASS: losses, gradients and final weights are equal to the bit.");
  drop_empty_columns(table, {"why not"});
  return table;
}

Table ratio_table(const Report& report) {
  Table table{
      .title = "Speed ratios (tok/s)", .columns = {"methods", "cell", "over", "ratio"}, .rows = {}, .notes = {}};
  for (const SpeedRatio& ratio : report.ratios) {
    table.rows.push_back({ratio.methods, ratio.numerator, ratio.denominator, fmt::format("{:.2f}", ratio.value)});
  }
  return table;
}

Table projected_table(const Report& report) {
  Table table{.title = "Projected, not measured: device memory and speed",
              .columns = {"cell", "method", "dtype", "batch x seq", "projected arena MiB", "projected NVML MiB",
                          "projected tok/s", "for"},
              .rows = {},
              .notes = {}};
  for (size_t index : report.projected) {
    const Record& record = report.records[index];
    const auto arena = record.metric("arena_planned_bytes");
    table.rows.push_back({record.request.slug, text_of(record, "method.name"), text_of(record, "engine.dtype"),
                          shape_of(record), mib(arena ? arena : record.metric("arena_bytes")),
                          mib(record.metric("nvml_projected_bytes")), number(record.metric("tokens_per_s")),
                          text_of(record, "engine.hardware")});
  }
  move_to_title(table, {"method", "dtype", "batch x seq", "for"});
  return table;
}

std::string factor_text(const BesideFigure& figure) {
  if (!figure.least) return "-";
  const std::string least = fmt::format("{:.2f}", *figure.least);
  return *figure.least == *figure.most ? least : fmt::format("{} to {:.2f}", least, *figure.most);
}

std::string theirs_text(const BesideFigure& figure) {
  const ReferenceFigure& theirs = figure.theirs;
  const bool printed = theirs.unit != "bytes" && !theirs.unit.empty();
  return printed ? fmt::format("{} {}", theirs.value, theirs.unit) : format_in_column(*figure.metric, theirs.value);
}

Table beside_table(const Report& report, const Metric& metric) {
  Table table{.title = fmt::format("Beside other systems: {}", metric.name),
              .columns = {"cell", "ours", "theirs", "whose", "times better", "verdict", "why not"},
              .rows = {},
              .notes = {}};
  std::vector<std::string> sources;
  bool any_range = false;
  for (const BesideFigure& figure : report.beside) {
    if (figure.metric != &metric) continue;
    const ReferenceFigure& theirs = figure.theirs;
    const std::string whose = fmt::format("{}, {}", theirs.system, theirs.origin);
    table.rows.push_back({cell_name(report.records[figure.record]),
                          format_in_column(metric, *figure.ours) + (figure.projected ? " projected" : ""),
                          theirs_text(figure), whose, factor_text(figure), standing(figure),
                          figure.reason.empty() ? "-" : figure.reason});
    any_range = any_range || figure.least != figure.most;
    const std::string source = whose + ": " + theirs.source;
    if (std::ranges::find(sources, source) == sources.end()) sources.push_back(source);
  }
  if (any_range) {
    table.notes.emplace_back(
        "times better: a printed GB read as 10^9 bytes, which the verdict is by, to 2^30 (1000 MiB lies between).");
  }
  table.notes.insert(table.notes.end(), sources.begin(), sources.end());
  drop_empty_columns(table, {"why not"});
  return table;
}

// "(opt-30b, zo2)": the values of a condition that no cell meets.
std::string condition_text(const Condition& where) {
  std::vector<std::string> values;
  for (const auto& [key, choices] : where) {
    for (const Json& choice : choices) values.push_back(json_text(choice));
  }
  return fmt::format("({})", fmt::join(values, ", "));
}

Table expectation_table(const Report& report) {
  Table table{.title = "Expectations",
              .columns = {"cell", "metric", "bound", "value", "verdict", "source"},
              .rows = {},
              .notes = {}};
  for (const ExpectationVerdict& verdict : report.expectations) {
    const Expectation& expectation = verdict.expectation;
    const std::string value =
        verdict.value ? format_in_column(*find_metric(expectation.metric), *verdict.value) : verdict.reason;
    table.rows.push_back({verdict.slug.empty() ? condition_text(expectation.where) : verdict.slug, expectation.metric,
                          expectation.written, value, std::string(verdict_name(verdict.verdict)), expectation.source});
  }
  return table;
}

}  // namespace

std::vector<Table> verdict_tables(const Report& report) {
  std::vector<Table> tables{equality_table(report)};
  for (const Metric& metric : metric_table()) tables.push_back(beside_table(report, metric));
  tables.push_back(expectation_table(report));
  std::erase_if(tables, [](const Table& table) { return table.rows.empty(); });
  return tables;
}

std::vector<Table> to_tables(const Report& report) {
  std::vector<Table> tables{measured_table(report), projected_table(report), ratio_table(report)};
  std::erase_if(tables, [](const Table& table) { return table.rows.empty(); });
  for (Table& table : verdict_tables(report)) tables.push_back(std::move(table));
  return tables;
}

}  // namespace zo2

// The report's tables: how its data is shown to people. Sizes in MiB and GiB; "-" where a record has no figure.
#include <algorithm>
#include <set>

#include "base/bytes.h"
#include "base/error.h"
#include "experiment/config_schema.h"
#include "experiment/metrics.h"
#include "experiment/report.h"

namespace zo2 {
namespace {

std::string model_of(const Record& record) {
  const Json& path = config_at(record.request.config, "model.path");
  if (path.is_null()) return config_at(record.request.config, "model.name").get<std::string>();
  const std::filesystem::path folder = path.get<std::string>();
  return (folder.has_filename() ? folder : folder.parent_path()).filename().string();
}

std::string text_of(const Record& record, std::string_view key) {
  const Json& value = config_at(record.request.config, key);
  return value.is_string() ? value.get<std::string>() : value.dump();
}

std::string shape_of(const Record& record) {
  return fmt::format("{} x {}", text_of(record, "data.batch"), text_of(record, "data.seq"));
}

std::string mib(std::optional<double> bytes) {
  return bytes ? fmt::format("{:.1f}", *bytes / static_cast<double>(kMiB)) : "-";
}

std::string number(std::optional<double> value) {
  if (!value) return "-";
  return *value >= 100 ? fmt::format("{:.0f}", *value) : fmt::format("{:.4g}", *value);
}

std::string speed_text(const MeasuredCell& cell) {
  std::string text = number(cell.median_tokens_per_s);
  if (cell.tokens_per_s.size() > 1) {
    const auto [low, high] = std::ranges::minmax(cell.tokens_per_s);
    text += fmt::format(" ({} to {}, n={})", number(low), number(high), cell.tokens_per_s.size());
  }
  return text;
}

std::string plan_text(const Record& record) {
  const auto planned = record.bytes("arena_planned_bytes");
  const auto measured = record.bytes("arena_bytes");
  if (!planned || !measured) return "-";
  return *planned == *measured ? "equal" : fmt::format("{:+} B", *measured - *planned);
}

std::string loss_text(const Record& record) {
  const auto first = record.metric("loss_first");
  const auto last = record.metric("loss_last");
  return first && last ? fmt::format("{:.5f} -> {:.5f}", *first, *last) : "-";
}

std::string ratio_text(const Record& record) {
  const auto efficiency = record.metric("roofline_efficiency");
  return efficiency && text_of(record, "method.name") == "zo2" ? fmt::format("{:.3f}", *efficiency) : "-";
}

// Takes out those of `names` that say nothing in any row: a CPU has no NVML.
void drop_empty_columns(Table& table, std::initializer_list<std::string_view> names) {
  for (size_t column = table.columns.size(); column-- > 0;) {
    const bool optional = std::ranges::find(names, table.columns[column]) != names.end();
    if (!optional || !std::ranges::all_of(table.rows, [&](const auto& row) { return row[column] == "-"; })) continue;
    table.columns.erase(table.columns.begin() + static_cast<int64_t>(column));
    for (auto& row : table.rows) row.erase(row.begin() + static_cast<int64_t>(column));
  }
}

Table measured_table(const Report& report) {
  Table table{.title = report.older_records == 0
                           ? "Measured"
                           : fmt::format("Measured ({} records of earlier runs are left out: --all shows them)",
                                         report.older_records),
              .columns = {"cell", "model", "method", "dtype", "batch x seq", "state", "tok/s", "ms/step p50",
                          "arena MiB", "plan", "NVML MiB", "roofline", "host RSS MiB", "loss first -> last"},
              .rows = {},
              .notes = {}};
  std::set<std::vector<std::string>> shapes;
  for (const MeasuredCell& cell : report.measured) {
    const Record& record = report.records[cell.first];
    std::vector<std::string> shape{model_of(record), text_of(record, "method.name"), text_of(record, "engine.dtype"),
                                   shape_of(record)};
    shapes.insert(shape);
    std::vector<std::string> row{record.request.slug};
    row.insert(row.end(), shape.begin(), shape.end());
    row.insert(row.end(),
               {std::string(state_name(record.state)), speed_text(cell), number(record.metric("step_ms_p50")),
                mib(record.metric("arena_bytes")), plan_text(record), mib(record.metric("nvml_step_peak_bytes")),
                ratio_text(record), mib(record.metric("host_rss_peak_bytes")), loss_text(record)});
    table.rows.push_back(std::move(row));
    for (const char* name : {"error", "reason"}) {
      if (record.result.contains(name)) {
        table.notes.push_back(fmt::format("{}: {}: {}", record.request.slug, state_name(record.state),
                                          record.result[name].get<std::string>()));
      }
    }
    for (const Json& warning : record.result.value("warnings", Json::array())) {
      table.notes.push_back(fmt::format("{}: warning: {}", record.request.slug, warning.get<std::string>()));
    }
  }
  drop_empty_columns(table, {"NVML MiB", "roofline"});
  if (shapes.size() == table.rows.size()) {  // model, method, dtype and shape tell the rows apart: no need for slugs
    table.columns.erase(table.columns.begin());
    for (auto& row : table.rows) row.erase(row.begin());
  }
  return table;
}

Table equality_table(const Report& report) {
  Table table{.title = "Equality: the same numbers wherever the weights live",
              .columns = {"runs", "verdict", "why"},
              .rows = {},
              .notes = {}};
  for (const EqualityVerdict& verdict : report.equality) {
    table.rows.push_back({fmt::format("{} and {}", verdict.left, verdict.right),
                          std::string(verdict_name(verdict.verdict)), verdict.reason});
  }
  return table;
}

Table ratio_table(const Report& report) {
  Table table{.title = "Speed ratios (tok/s)", .columns = {"methods", "cells", "ratio"}, .rows = {}, .notes = {}};
  for (const SpeedRatio& ratio : report.ratios) {
    table.rows.push_back({ratio.methods, fmt::format("{} over {}", ratio.numerator, ratio.denominator),
                          fmt::format("{:.2f}", ratio.value)});
  }
  return table;
}

std::string printed(const std::optional<ReferenceFigure>& figure, int decimals) {
  return figure ? fmt::format("{:.{}f}", figure->value, decimals) : "-";
}

// A column whose cells are all equal says so once, in the title.
void move_to_title(Table& table, std::string_view column) {
  const auto c = std::ranges::find(table.columns, column) - table.columns.begin();
  const auto at = static_cast<size_t>(c);
  const std::string value = table.rows[0][at];
  if (!std::ranges::all_of(table.rows, [&](const auto& row) { return row[at] == value; })) return;
  table.title += fmt::format("; {} {}", column, value);
  table.columns.erase(table.columns.begin() + c);
  for (auto& row : table.rows) row.erase(row.begin() + c);
}

Table projected_table(const Report& report) {
  Table table{.title = "Projected, not measured: device memory and speed",
              .columns = {"model", "method", "dtype", "batch x seq", "projected arena MiB", "projected NVML MiB",
                          "projected tok/s", "ZO2 paper GB", "paper/ours", "Python ZO2 MiB", "Python ZO2 tok/s"},
              .rows = {},
              .notes = {}};
  std::set<std::string> sources;
  std::set<std::string> hardware;
  for (const ProjectedCell& cell : report.projected) {
    const Record& record = report.records[cell.record];
    const auto arena = record.metric("arena_planned_bytes");
    table.rows.push_back({model_of(record), text_of(record, "method.name"), text_of(record, "engine.dtype"),
                          shape_of(record), mib(arena ? arena : record.metric("arena_bytes")),
                          mib(record.metric("nvml_projected_bytes")), number(record.metric("tokens_per_s")),
                          printed(cell.published_memory, 2),
                          cell.ratio_least ? fmt::format("{:.2f} to {:.2f}", *cell.ratio_least, *cell.ratio_most) : "-",
                          printed(cell.measured_memory, 0), printed(cell.measured_speed, 0)});
    hardware.insert(text_of(record, "engine.hardware"));
    if (cell.published_memory) sources.insert("ZO2 paper: " + cell.published_memory->source);
    if (cell.measured_memory) sources.insert("Python ZO2: " + cell.measured_memory->source);
  }
  if (table.rows.empty()) return table;
  for (const char* column : {"method", "dtype", "batch x seq"}) move_to_title(table, column);
  table.notes.push_back(
      fmt::format("Projected by the forecast for {}, K = writeback_every as configured.", fmt::join(hardware, ", ")));
  table.notes.push_back("paper/ours: the printed GB read as 10^9 bytes, and as 2^30.");
  table.notes.insert(table.notes.end(), sources.begin(), sources.end());
  return table;
}

Table expectation_table(const Report& report) {
  Table table{.title = "Expectations",
              .columns = {"cell", "metric", "bound", "value", "verdict", "source"},
              .rows = {},
              .notes = {}};
  for (const ExpectationVerdict& verdict : report.expectations) {
    const Expectation& expectation = verdict.expectation;
    const Metric* metric = find_metric(expectation.metric);
    const auto text = [&](double value) { return metric ? format_metric(*metric, value) : number(value); };
    table.rows.push_back({verdict.slug.empty() ? "(no such cell)" : verdict.slug, expectation.metric,
                          expectation.written, verdict.value ? text(*verdict.value) : "-",
                          std::string(verdict_name(verdict.verdict)), expectation.source});
  }
  return table;
}

}  // namespace

std::vector<Table> to_tables(const Report& report) {
  std::vector<Table> tables{measured_table(report), equality_table(report), ratio_table(report),
                            projected_table(report), expectation_table(report)};
  std::erase_if(tables, [](const Table& table) { return table.rows.empty(); });
  return tables;
}

}  // namespace zo2

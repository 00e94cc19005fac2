// A comparison as tables and as JSON.
#include <algorithm>
#include <array>
#include <map>

#include "base/error.h"
#include "experiment/compare.h"
#include "experiment/statistics.h"

namespace zo2 {
namespace {

std::string side_text(const Metric& metric, const std::vector<double>& values) {
  if (values.empty()) return "-";
  std::string text = format_in_column(metric, mean(values));
  if (values.size() > 1) text += fmt::format(" (n={})", values.size());
  return text;
}

std::string values_text(const Metric& metric, const std::vector<double>& values) {
  std::vector<std::string> texts;
  for (double value : values) texts.push_back(format_in_column(metric, value));
  if (texts.size() < 2) return texts[0];
  const auto [low, high] = std::ranges::minmax(values);
  return fmt::format("{} (range {} to {})", fmt::join(texts, ", "), format_in_column(metric, low),
                     format_in_column(metric, high));
}

std::string pair_name(const CellComparison& cell) {
  return cell.left == cell.right ? cell.left : fmt::format("{} -> {}", cell.left, cell.right);
}

Table metric_table_of(const Comparison& comparison, const Metric& metric) {
  constexpr std::array<std::string_view, 3> kDirections{"higher is better", "lower is better", "no better direction"};
  Table table{.title = fmt::format("{} ({})", metric.name, kDirections[static_cast<size_t>(metric.better)]),
              .columns = {"cell", "A", "B", "B/A", "95% interval", "verdict", "why"},
              .rows = {},
              .notes = {}};
  for (const CellComparison& cell : comparison.cells) {
    for (const MetricComparison& found : cell.metrics) {
      if (found.metric != &metric) continue;
      const auto interval =
          found.interval ? fmt::format("{:.4f} to {:.4f}", found.interval->low, found.interval->high) : "-";
      table.rows.push_back({pair_name(cell), side_text(metric, found.left), side_text(metric, found.right),
                            found.ratio ? fmt::format("{:.4f}", *found.ratio) : "-", interval,
                            std::string(change_name(found.change)), found.reason.empty() ? "-" : found.reason});
      if (found.change == Change::too_few && found.left.size() + found.right.size() > 2) {
        table.notes.push_back(fmt::format("{}: A {}; B {}", pair_name(cell), values_text(metric, found.left),
                                          values_text(metric, found.right)));
      }
    }
  }
  drop_empty_columns(table, {"95% interval", "why"});
  return table;
}

std::string shortened(const std::string& text) { return text.size() > 46 ? text.substr(0, 43) + "..." : text; }

// Equal differences of several cells are one row.
Table configuration_table(const Comparison& comparison) {
  Table table{.title = "Configuration", .columns = {"key", "A", "B", "cells"}, .rows = {}, .notes = {}};
  std::map<std::array<std::string, 3>, int> counts;
  for (const CellComparison& cell : comparison.cells) {
    for (const Difference& difference : cell.config) ++counts[{difference.key, difference.left, difference.right}];
  }
  for (const auto& [difference, count] : counts) {
    table.rows.push_back({difference[0], shortened(difference[1]), shortened(difference[2]),
                          fmt::format("{} of {}", count, comparison.cells.size())});
  }
  return table;
}

Table environment_table(const Comparison& comparison) {
  Table table{.title = "Environment", .columns = {"key", "A", "B"}, .rows = {}, .notes = {}};
  for (const Difference& difference : comparison.environment) {
    table.rows.push_back({difference.key, shortened(difference.left), shortened(difference.right)});
  }
  return table;
}

// Cells of which a side has no figures.
Table failure_table(const Comparison& comparison) {
  Table table{.title = "FAILED in every repeat", .columns = {"cell", "A", "B"}, .rows = {}, .notes = {}};
  const auto text = [](const std::string& failed) { return failed.empty() ? "has figures" : failed; };
  for (const CellComparison& cell : comparison.cells) {
    if (cell.left_failed.empty() && cell.right_failed.empty()) continue;
    table.rows.push_back({pair_name(cell), text(cell.left_failed), text(cell.right_failed)});
  }
  return table;
}

Json differences_json(const std::vector<Difference>& differences) {
  Json list = Json::array();
  for (const Difference& difference : differences) {
    list.push_back({{"key", difference.key}, {"left", difference.left}, {"right", difference.right}});
  }
  return list;
}

Json metric_json(const MetricComparison& found) {
  Json json{{"metric", found.metric->name}, {"left", found.left},
            {"right", found.right},         {"ratio", found.ratio ? json_number(*found.ratio) : Json()},
            {"interval", nullptr},          {"verdict", change_name(found.change)},
            {"reason", found.reason}};
  if (found.interval) json["interval"] = {found.interval->low, found.interval->high};
  return json;
}

}  // namespace

std::vector<Table> to_tables(const Comparison& comparison) {
  std::vector<Table> tables{failure_table(comparison)};
  for (const Metric& metric : metric_table()) tables.push_back(metric_table_of(comparison, metric));
  tables.push_back(configuration_table(comparison));
  tables.push_back(environment_table(comparison));
  std::erase_if(tables, [](const Table& table) { return table.rows.empty(); });
  return tables;
}

Json to_json(const Comparison& comparison) {
  Json cells = Json::array();
  for (const CellComparison& cell : comparison.cells) {
    Json metrics = Json::array();
    for (const MetricComparison& found : cell.metrics) metrics.push_back(metric_json(found));
    cells.push_back({{"left", cell.left},
                     {"right", cell.right},
                     {"left_failed", cell.left_failed},
                     {"right_failed", cell.right_failed},
                     {"config", differences_json(cell.config)},
                     {"metrics", std::move(metrics)}});
  }
  return {{"schema", 1},
          {"left", comparison.left},
          {"right", comparison.right},
          {"threshold", comparison.threshold},
          {"resamples", kResamples},
          {"seed", kBootstrapSeed},
          {"cells", std::move(cells)},
          {"only_left", comparison.only_left},
          {"only_right", comparison.only_right},
          {"environment", differences_json(comparison.environment)},
          {"worse", comparison.any_worse()},
          {"failed", comparison.any_failed()}};
}

}  // namespace zo2

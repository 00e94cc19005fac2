#include "experiment/record_text.h"

#include <vector>

#include "base/error.h"
#include "experiment/cell_name.h"
#include "experiment/config_schema.h"
#include "experiment/metrics.h"
#include "experiment/table.h"

namespace zo2 {
namespace {

namespace fs = std::filesystem;

// Dotted keys of what is not as the defaults have it. A key that this version does not know is shown too.
Json changed_settings(const Json& config) {
  Json changed = Json::object();
  for (const auto& [section, members] : config.items()) {
    if (!members.is_object()) continue;
    for (const auto& [name, value] : members.items()) {
      const std::string key = fmt::format("{}.{}", section, name);
      const KeySpec* spec = find_key(key);
      if (spec == nullptr || spec->default_value != value) changed[key] = value;
    }
  }
  return changed;
}

std::string metric_text(const std::string& name, const Json& value) {
  const Metric* metric = find_metric(name);
  return metric == nullptr ? json_text(value) : format_metric(*metric, value);
}

std::string indented(const std::string& text) {
  std::string result = "  ";
  for (const char c : text) result += c == '\n' ? std::string("\n  ") : std::string(1, c);
  return result;
}

}  // namespace

Record find_record(const fs::path& dir, const std::string& cell, std::optional<int> repeat) {
  std::vector<Record> records = read_records(dir);
  std::vector<CellName> cells;
  for (const Record& record : records) cells.push_back(name_of(record));
  const std::string meant = find_cell(cells, cell, dir.string());
  std::vector<int> repeats;
  for (Record& record : records) {
    if (name_of(record).folder != meant) continue;
    if (!repeat || *repeat == record.request.repeat) return std::move(record);
    repeats.push_back(record.request.repeat);
  }
  throw UsageError(
      fmt::format("cell '{}' has no repeat {} that has ended; it has {}", cell, *repeat, fmt::join(repeats, ", ")));
}

std::vector<Table> record_tables(const Record& record) {
  std::vector<Table> tables;
  const auto add = [&](const char* title, const Json& object, auto text) {
    if (!object.is_object() || object.empty()) return;
    Table& table = tables.emplace_back(Table{.title = title, .columns = {"name", "value"}, .rows = {}, .notes = {}});
    for (const auto& [name, value] : object.items()) table.rows.push_back({name, text(name, value)});
  };
  const auto as_is = [](const std::string&, const Json& value) { return json_text(value); };
  const Json& result = record.result;
  add("Configuration that is not the default", changed_settings(record.request.config), as_is);
  add("Chosen", result.value("chosen", Json::object()), as_is);
  add("Metrics", result.value("metrics", Json::object()), metric_text);
  add("Other figures", result.value("extra", Json::object()), as_is);
  add("Hashes", result.value("hashes", Json::object()), as_is);
  add("Environment", record.environment, as_is);
  return tables;
}

std::string render_text(const Record& record) {
  const Json& result = record.result;
  std::string text = fmt::format("{} r{}: {}\n", record.request.slug, record.request.repeat, state_name(record.state));
  text += fmt::format(
      "experiment {}, config hash {}{}\n{}\n", record.request.experiment, record.request.config_hash.substr(0, 8),
      result.contains("started_utc") ? ", started " + json_text(result["started_utc"]) : "", record.folder.string());
  for (const Table& table : record_tables(record)) text += fmt::format("\n{}", render_text(table));
  for (const Json& warning : result.value("warnings", Json::array()))
    text += fmt::format("\nwarning: {}\n", json_text(warning));
  for (const char* name : {"error", "reason"}) {
    if (result.contains(name)) text += fmt::format("\n{}: {}\n", name, json_text(result[name]));
  }
  if (result.contains("stderr_tail"))
    text += fmt::format("\nlast lines:\n{}\n", indented(json_text(result["stderr_tail"])));
  return text;
}

Json to_json(const Record& record) {
  return {{"schema", 1},
          {"folder", record.folder.string()},
          {"request", to_json(record.request)},
          {"changed", changed_settings(record.request.config)},
          {"environment", record.environment},
          {"result", record.result}};
}

}  // namespace zo2

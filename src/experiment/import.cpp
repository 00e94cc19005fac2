#include "experiment/import.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <map>

#include "base/bytes.h"
#include "base/error.h"
#include "experiment/comparable.h"
#include "experiment/config_schema.h"
#include "experiment/metrics.h"
#include "experiment/slug.h"
#include "experiment/statistics.h"

namespace zo2 {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 6> kNeededKeys{"model.name",   "model.tie_embeddings", "method.name",
                                                      "engine.dtype", "data.batch",           "data.seq"};
constexpr std::array<std::string_view, 5> kFacts{"source", "gpu", "link", "commit", "how_read"};

struct ImportedLine {
  int line = 0;
  Cell cell;
  Json metrics = Json::object();
  Json printed = Json::object();
  std::vector<std::string> given;
  std::map<std::string, std::string> facts;  // of kFacts; "" when left out
};

// One line; what is wrong with it goes to `problems`.
class LineReader {
 public:
  LineReader(const fs::path& file, int line, std::vector<std::string>& problems)
      : file_(file), line_(line), problems_(problems) {}

  ImportedLine read(const std::string& text) {
    ImportedLine result;
    result.line = line_;
    result.cell.config = default_config();
    for (std::string_view fact : kFacts) result.facts[std::string(fact)] = "";
    Json json;
    try {
      json = Json::parse(text);
    } catch (const Json::exception& error) {
      add(error.what());
      return result;
    }
    if (!json.is_object()) {
      add("expected an object");
      return result;
    }
    for (const auto& [key, value] : json.items()) read_member(key, value, result);
    for (std::string_view key : kNeededKeys) {
      if (!json.contains(std::string(key))) add(fmt::format("'{}' is needed", key));
    }
    if (result.facts["source"].empty()) add("'source' is needed: who says so, where");
    if (result.metrics.empty()) add("there is no figure: name a metric, such as tokens_per_s");
    result.cell.config_hash = config_hash(result.cell.config);
    return result;
  }

 private:
  void read_member(const std::string& key, const Json& value, ImportedLine& result) {
    if (const Metric* metric = find_metric(key)) return read_metric(*metric, value, result);
    if (const KeySpec* spec = find_key(key)) {
      try {
        const bool text = value.is_string();
        config_set(result.cell.config, key, parse_value(*spec, text ? value.get<std::string>() : value.dump()));
        result.given.push_back(key);
      } catch (const UsageError& error) {
        add(error.what());
      }
      return;
    }
    const auto fact = result.facts.find(key);
    if (fact != result.facts.end() && value.is_string()) {
      fact->second = value.get<std::string>();
      return;
    }
    if (fact != result.facts.end()) return add(fmt::format("'{}': expected text, found {}", key, value.dump()));
    std::vector<std::string_view> known(kFacts.begin(), kFacts.end());
    for (const Metric& metric : metric_table()) known.push_back(metric.name);
    const std::string near = key.find('.') == std::string::npos ? nearest_word(key, known) : nearest_key(key);
    add(fmt::format("unknown member '{}'{}", key, did_you_mean(near)));
  }

  void read_metric(const Metric& metric, const Json& value, ImportedLine& result) {
    const std::string name(metric.name);
    if (value.is_number()) {
      result.metrics[name] = value;
    } else if (value.is_string() && metric.unit == "bytes") {
      try {
        result.metrics[name] = parse_bytes(value.get<std::string>());
        result.printed[name] = value;
      } catch (const UsageError& error) {
        add(fmt::format("'{}': {}", name, error.what()));
      }
    } else {
      add(fmt::format("'{}': expected a number in {}{}, found {}", name, metric.unit.empty() ? "1" : metric.unit,
                      metric.unit == "bytes" ? " or a size such as 3065 MiB" : "", value.dump()));
    }
  }

  void add(const std::string& message) {
    problems_.push_back(fmt::format("{}:{}: {}", file_.string(), line_, message));
  }

  const fs::path& file_;
  int line_;
  std::vector<std::string>& problems_;
};

std::vector<ImportedLine> read_lines(const fs::path& file) {
  std::ifstream stream(file);
  ZO2_CHECK(stream.is_open(), IoError, "cannot read {}", file.string());
  std::vector<ImportedLine> lines;
  std::vector<std::string> problems;
  std::string text;
  for (int line = 1; std::getline(stream, text); ++line) {
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    lines.push_back(LineReader(file, line, problems).read(text));
  }
  ZO2_CHECK(problems.empty(), UsageError, "{}", fmt::join(problems, "\n"));
  ZO2_CHECK(!lines.empty(), UsageError, "{} has no line", file.string());
  return lines;
}

// The lines' cells, each once, with slugs.
std::map<std::string, Cell> cells_by_hash(const std::vector<ImportedLine>& lines) {
  std::vector<Cell> cells;
  for (const ImportedLine& line : lines) {
    if (std::ranges::find(cells, line.cell.config_hash, &Cell::config_hash) == cells.end()) cells.push_back(line.cell);
  }
  assign_slugs(cells);
  std::map<std::string, Cell> by_hash;
  for (Cell& cell : cells) by_hash.emplace(cell.config_hash, std::move(cell));
  return by_hash;
}

void write_record(const fs::path& folder, const std::string& system, const CellRequest& request,
                  const ImportedLine& line) {
  const auto& facts = line.facts;
  Json result = make_result(State::ok, request.config_hash);
  result["metrics"] = line.metrics;
  result["imported"] = {{"system", system},
                        {"source", facts.at("source")},
                        {"commit", facts.at("commit")},
                        {"how_read", facts.at("how_read")},
                        {"line", line.line},
                        {"given", line.given},
                        {"printed", line.printed}};
  Json environment = Json::object();
  if (!facts.at("gpu").empty()) environment["gpu"] = {{"name", facts.at("gpu")}};
  if (!facts.at("link").empty()) environment["link"] = facts.at("link");
  fs::create_directories(folder);
  write_file_atomically(folder / "config.json", to_json(request).dump(2) + "\n");
  write_file_atomically(folder / "env.json", environment.dump(2) + "\n");
  write_result(folder, result);
}

}  // namespace

size_t import_records(const fs::path& file, const std::string& name, const fs::path& dir) {
  const bool good_name = !name.empty() && name[0] != '.' && std::ranges::all_of(name, [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
  });
  ZO2_CHECK(good_name, UsageError, "'{}' cannot be the name of a system: use letters, digits, '-', '_' and '.'", name);
  const std::vector<ImportedLine> lines = read_lines(file);
  const std::map<std::string, Cell> cells = cells_by_hash(lines);
  const fs::path final_folder = dir / "imported" / name;
  const fs::path partial = dir / "imported" / ("." + name + ".partial");
  try {
    fs::remove_all(partial);
    std::map<std::string, int> repeats;
    for (const ImportedLine& line : lines) {
      const Cell& cell = cells.at(line.cell.config_hash);
      const CellRequest request{name, cell.slug, repeats[cell.config_hash]++, cell.config_hash, cell.config};
      write_record(partial / "cells" / cell.folder_name() / fmt::format("r{}", request.repeat), name, request, line);
    }
    fs::remove_all(final_folder);
    fs::rename(partial, final_folder);
  } catch (const fs::filesystem_error& error) {
    throw IoError(fmt::format("cannot write {}: {}", final_folder.string(), error.code().message()));
  }
  return lines.size();
}

std::vector<Record> read_imported_records(const fs::path& dir) {
  std::vector<fs::path> systems;
  if (fs::is_directory(dir / "imported")) {
    for (const auto& entry : fs::directory_iterator(dir / "imported")) {
      if (fs::is_directory(entry.path() / "cells") && entry.path().filename().string()[0] != '.') {
        systems.push_back(entry.path());
      }
    }
  }
  std::ranges::sort(systems);
  std::vector<Record> records;
  for (const fs::path& system : systems) {
    for (Record& record : read_records(system)) records.push_back(std::move(record));
  }
  return records;
}

std::vector<ReferenceFigure> figures_of(const std::vector<Record>& imported) {
  std::vector<ReferenceFigure> figures;
  for (const std::vector<size_t>& repeats : by_cell(imported)) {
    const Record& first = imported[repeats[0]];
    const Json& origin = first.result.at("imported");
    const Subject subject = subject_of(first);
    for (const Metric& metric : metric_table()) {
      std::vector<double> values;
      for (size_t i : repeats) {
        if (const auto value = imported[i].metric(metric.name)) values.push_back(*value);
      }
      if (values.empty()) continue;
      ReferenceFigure figure;
      figure.system = first.system();
      figure.origin = "imported";
      figure.method = config_at(first.request.config, "method.name").get<std::string>();
      figure.model = subject.model;
      figure.task = subject.task;
      figure.metric = metric.name;
      figure.dtype = subject.dtype;
      figure.batch = subject.batch;
      figure.seq = subject.seq;
      figure.tie_embeddings = subject.tie_embeddings;
      figure.gpu = subject.processor;
      figure.link = subject.link;
      figure.commit = origin.value("commit", "");
      figure.source = origin.value("source", "");
      figure.how_read = origin.value("how_read", "");
      const std::string printed = origin.at("printed").value(std::string(metric.name), "");
      if (values.size() == 1 && !printed.empty()) {
        figure.set_value(printed);
      } else {
        figure.value = median(values);
        figure.unit = metric.unit;
      }
      figures.push_back(std::move(figure));
    }
  }
  return figures;
}

}  // namespace zo2

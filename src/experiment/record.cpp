#include "experiment/record.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <map>
#include <utility>

#include "base/error.h"
#include "experiment/archive.h"
#include "experiment/config_schema.h"

namespace zo2 {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 9> kStateNames{"ok",          "oom",     "timeout",   "crashed",  "diverged",
                                                      "interrupted", "skipped", "throttled", "projected"};

Json pairs_json(const std::vector<double>& values) {
  if (values.size() == 1) return json_number(values[0]);
  Json list = Json::array();
  for (double value : values) list.push_back(json_number(value));
  return list;
}

std::vector<double> pairs_from_json(const Json& json) {
  if (!json.is_array()) return {number_from_json(json)};
  std::vector<double> values;
  for (const Json& value : json) values.push_back(number_from_json(value));
  return values;
}

StepSample step_from_json(const Json& line) {
  return {.step = line.at("step").get<int64_t>(),
          .seed = line.at("seed").get<uint64_t>(),
          .loss_plus = pairs_from_json(line.at("loss_plus")),
          .loss_minus = pairs_from_json(line.at("loss_minus")),
          .projected_gradient = pairs_from_json(line.at("projected_gradient")),
          .step_ms = number_from_json(line.at("step_ms"))};
}

// Runs `function`, and names `path` when the JSON in it has the wrong shape.
template <typename Function>
auto reading(const fs::path& path, Function function) {
  try {
    return function();
  } catch (const Json::exception& error) {
    throw UsageError(fmt::format("{}: {}", path.string(), error.what()));
  }
}

// nullptr when the result does not have the metric.
const Json* metric_json(const Json& result, std::string_view name) {
  const auto metrics = result.find("metrics");
  if (metrics == result.end()) return nullptr;
  const auto found = metrics->find(std::string(name));
  return found == metrics->end() || found->is_null() ? nullptr : &*found;
}

int repeat_number(const fs::path& folder) {
  const std::string name = folder.filename().string();
  const bool digits = name.size() > 1 && name.size() < 9 && name[0] == 'r' &&
                      std::all_of(name.begin() + 1, name.end(), [](char c) { return c >= '0' && c <= '9'; });
  return digits ? std::stoi(name.substr(1)) : -1;
}

}  // namespace

std::string_view state_name(State state) { return kStateNames[static_cast<size_t>(state)]; }

State parse_state(std::string_view name) {
  const auto found = std::ranges::find(kStateNames, name);
  ZO2_CHECK(found != kStateNames.end(), UsageError, "unknown state '{}'; known are {}", name,
            fmt::join(kStateNames, ", "));
  return static_cast<State>(found - kStateNames.begin());
}

bool is_failure(State state) { return state != State::ok && state != State::projected && state != State::skipped; }

Json to_json(const CellRequest& request) {
  return {{"schema", kRecordSchema},  {"experiment", request.experiment},   {"slug", request.slug},
          {"repeat", request.repeat}, {"config_hash", request.config_hash}, {"config", request.config}};
}

CellRequest read_cell_request(const fs::path& folder) {
  const fs::path path = folder / "config.json";
  const Json json = read_json(path);
  return reading(path, [&] {
    // Records that were made before a key was added have its default, which is the old behaviour (config_hash).
    Json config = default_config();
    config.update(json.at("config"), true);
    return CellRequest{.experiment = json.at("experiment").get<std::string>(),
                       .slug = json.at("slug").get<std::string>(),
                       .repeat = json.at("repeat").get<int>(),
                       .config_hash = json.at("config_hash").get<std::string>(),
                       .config = std::move(config)};
  });
}

SampleWriter::SampleWriter(const fs::path& folder, int64_t next_step)
    : file_([&] {
        std::string kept;
        for (const Json& line : next_step > 0 ? read_sample_lines(folder) : std::vector<Json>()) {
          if (line.value("step", int64_t{0}) < next_step) kept += line.dump() + "\n";
        }
        write_file_atomically(folder / "samples.jsonl", kept);
        return File::open_for_appending(folder / "samples.jsonl");
      }()) {}

void SampleWriter::write(const StepSample& sample) {
  write(Json{{"kind", "step"},
             {"step", sample.step},
             {"seed", sample.seed},
             {"loss_plus", pairs_json(sample.loss_plus)},
             {"loss_minus", pairs_json(sample.loss_minus)},
             {"projected_gradient", pairs_json(sample.projected_gradient)},
             {"step_ms", json_number(sample.step_ms)}});
}

void SampleWriter::write(const Json& line) {
  ZO2_ASSERT(line.contains("kind"));
  const std::string text = line.dump() + "\n";
  file_.write_all(text.data(), text.size());
}

std::vector<Json> read_sample_lines(const fs::path& folder) {
  fs::path path = folder / "samples.jsonl";
  std::string text;
  if (!fs::exists(path) && fs::exists(folder / "samples.jsonl.gz")) {
    path += ".gz";
    text = read_gzip(path);
  } else {
    std::ifstream stream(path, std::ios::binary);
    text.assign(std::istreambuf_iterator<char>(stream), {});
  }
  std::vector<Json> lines;
  size_t start = 0;
  for (size_t end; (end = text.find('\n', start)) != std::string::npos; start = end + 1) {
    try {
      lines.push_back(Json::parse(text.begin() + static_cast<std::ptrdiff_t>(start),
                                  text.begin() + static_cast<std::ptrdiff_t>(end)));
    } catch (const Json::exception& error) {
      throw UsageError(fmt::format("{}:{}: {}", path.string(), lines.size() + 1, error.what()));
    }
  }
  return lines;
}

std::vector<StepSample> read_samples(const fs::path& folder) {
  std::vector<StepSample> samples;
  for (const Json& line : read_sample_lines(folder)) {
    reading(folder / "samples.jsonl", [&] {
      if (line.at("kind") == "step") samples.push_back(step_from_json(line));
      return 0;
    });
  }
  return samples;
}

Json make_result(State state, const std::string& config_hash) {
  return {{"schema", kRecordSchema},   {"state", state_name(state)}, {"config_hash", config_hash},
          {"metrics", Json::object()}, {"hashes", Json::object()},   {"chosen", Json::object()},
          {"warnings", Json::array()}};
}

void write_result(const fs::path& folder, const Json& result) {
  write_file_atomically(folder / "result.json", result.dump(2) + "\n");
}

std::string Record::system() const { return result.contains("imported") ? result["imported"].value("system", "") : ""; }

std::string Record::model() const { return model_name(request.config); }

std::optional<double> Record::metric(std::string_view name) const {
  const Json* value = metric_json(result, name);
  return value == nullptr ? std::nullopt : std::optional(number_from_json(*value));
}

std::optional<int64_t> Record::bytes(std::string_view name) const {
  const Json* value = metric_json(result, name);
  return value == nullptr || !value->is_number_integer() ? std::nullopt : std::optional(value->get<int64_t>());
}

std::string Record::hash(std::string_view name) const {
  return result.value("hashes", Json::object()).value(std::string(name), "");
}

std::optional<Record> read_record(const fs::path& folder) {
  const fs::path path = folder / "result.json";
  if (!fs::exists(path)) return std::nullopt;
  Record record{.folder = folder, .request = read_cell_request(folder), .result = read_json(path)};
  if (fs::exists(folder / "env.json")) record.environment = read_json(folder / "env.json");
  record.state = reading(path, [&] { return parse_state(record.result.at("state").get<std::string>()); });
  return record;
}

std::vector<Record> read_records(const fs::path& dir) {
  const fs::path cells = dir / "cells";
  ZO2_CHECK(fs::is_directory(cells), IoError, "{} holds no records: there is no folder {}", dir.string(),
            cells.string());
  std::vector<std::string> order;
  if (fs::exists(dir / "experiment.json")) {
    const Json experiment = read_json(dir / "experiment.json");
    for (const Json& cell : experiment.value("cells", Json::array())) {
      order.push_back(cell.value("config_hash", "").substr(0, 8));
    }
  }
  const auto rank = [&](const fs::path& folder) {
    const std::string name = folder.filename().string();  // ends in eight digits of the hash
    return std::ranges::find(order, name.substr(name.rfind('-') + 1)) - order.begin();
  };
  std::vector<std::pair<std::ptrdiff_t, fs::path>> folders;
  for (const auto& cell : fs::directory_iterator(cells)) {
    if (cell.is_directory()) folders.emplace_back(rank(cell.path()), cell.path());
  }
  std::ranges::sort(folders);
  std::vector<Record> records;
  for (const auto& [position, folder] : folders) {
    std::vector<std::pair<int, fs::path>> repeats;
    for (const auto& repeat : fs::directory_iterator(folder)) {
      if (repeat_number(repeat.path()) >= 0) repeats.emplace_back(repeat_number(repeat.path()), repeat.path());
    }
    std::ranges::sort(repeats);
    for (const auto& [number, path] : repeats) {
      if (auto record = read_record(path)) records.push_back(std::move(*record));
    }
  }
  return records;
}

std::vector<std::vector<size_t>> by_cell(const std::vector<Record>& records) {
  std::vector<std::vector<size_t>> cells;
  std::map<std::pair<std::string, std::string>, size_t> index;  // by system and config hash
  for (size_t i = 0; i < records.size(); ++i) {
    const auto [found, fresh] =
        index.emplace(std::pair(records[i].system(), records[i].request.config_hash), cells.size());
    if (fresh) cells.emplace_back();
    cells[found->second].push_back(i);
  }
  return cells;
}

}  // namespace zo2

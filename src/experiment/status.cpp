#include "experiment/status.h"

#include <algorithm>
#include <chrono>
#include <map>

#include "base/error.h"
#include "experiment/config_schema.h"
#include "experiment/progress.h"
#include "experiment/sweep_folder.h"
#include "experiment/table.h"

namespace zo2 {
namespace {

namespace fs = std::filesystem;

constexpr size_t kNamedLeft = 20;

double age_s(const fs::path& path) {
  return std::chrono::duration<double>(fs::file_time_type::clock::now() - fs::last_write_time(path)).count();
}

// What an attempt has done so far; nothing when it has only just begun, or has ended meanwhile.
void read_attempt(const fs::path& attempt, RepeatStatus& status) {
  try {
    status.steps = config_at(read_cell_request(attempt).config, "train.steps").get<int64_t>();
    status.age_s = age_s(attempt / "config.json");
    status.step = LineCounter(attempt / "samples.jsonl").count();
  } catch (const std::exception&) {
    status.steps = 0;
  }
}

std::string last_line(const std::string& text) {
  const size_t end = text.find_last_not_of('\n');
  if (end == std::string::npos) return "";
  const size_t begin = text.find_last_of('\n', end) + 1;  // 0 in the first line
  return text.substr(begin, end - begin + 1);
}

RepeatStatus status_of(const fs::path& cell_folder, const std::string& slug, int repeat) {
  RepeatStatus status{.slug = slug, .repeat = repeat, .folder = record_path(cell_folder, repeat)};
  status.running = is_running(cell_folder, repeat);
  if (status.running) {
    read_attempt(attempt_path(cell_folder, repeat), status);
    return status;
  }
  const auto record = read_record(status.folder);
  if (!record) return status;
  status.state = record->state;
  if (status.has_failed()) {
    status.error = record->result.value("error", "");
    status.last_words = last_line(record->result.value("stderr_tail", ""));
  }
  return status;
}

// Of those that are done with.
std::map<State, int> counts_of(const SweepStatus& status) {
  std::map<State, int> counts;
  for (const RepeatStatus& repeat : status.repeats) {
    if (repeat.state && !repeat.is_left()) ++counts[*repeat.state];
  }
  return counts;
}

std::string name_of(const RepeatStatus& repeat) { return fmt::format("{} r{}", repeat.slug, repeat.repeat); }

std::string step_text(const RepeatStatus& repeat) {
  return repeat.steps == 0 ? "" : fmt::format("{}/{}", repeat.step, repeat.steps);
}

}  // namespace

SweepStatus read_status(const fs::path& dir) {
  const fs::path path = dir / "experiment.json";
  ZO2_CHECK(fs::exists(path), IoError, "{} is not a folder of `zo2 run`: there is no {}", dir.string(), path.string());
  const Json experiment = read_json(path);
  const std::map<std::string, fs::path> folders = cell_folders(dir);
  SweepStatus status;
  try {
    status.name = experiment.at("name").get<std::string>();
    for (const Json& cell : experiment.at("cells")) {
      const auto slug = cell.at("slug").get<std::string>();
      const auto hash = cell.at("config_hash").get<std::string>();
      const auto found = folders.find(hash);
      const fs::path folder =
          found != folders.end() ? found->second : dir / "cells" / fmt::format("{}-{}", slug, hash.substr(0, 8));
      const int repeats = cell.contains("skipped") ? 1 : experiment.at("repeats").get<int>();
      for (int repeat = 0; repeat < repeats; ++repeat) status.repeats.push_back(status_of(folder, slug, repeat));
    }
  } catch (const Json::exception& error) {
    throw UsageError(fmt::format("{}: {}", path.string(), error.what()));
  }
  return status;
}

Json to_json(const SweepStatus& status, const fs::path& dir) {
  Json json{{"schema", 1},
            {"name", status.name},
            {"total", status.repeats.size()},
            {"counts", Json::object()},
            {"running", Json::array()},
            {"failed", Json::array()},
            {"left", Json::array()}};
  for (const auto& [state, count] : counts_of(status)) json["counts"][std::string(state_name(state))] = count;
  for (const RepeatStatus& repeat : status.repeats) {
    Json entry{
        {"cell", repeat.slug}, {"repeat", repeat.repeat}, {"folder", repeat.folder.lexically_relative(dir).string()}};
    if (repeat.running) {
      entry.update({{"step", repeat.step}, {"steps", repeat.steps}, {"age_s", repeat.age_s}});
      json["running"].push_back(std::move(entry));
    } else if (repeat.has_failed()) {
      entry.update({{"state", state_name(*repeat.state)}, {"error", repeat.error}, {"last_words", repeat.last_words}});
      json["failed"].push_back(std::move(entry));
    } else if (repeat.is_left()) {
      if (repeat.state) entry["state"] = state_name(*repeat.state);
      json["left"].push_back(std::move(entry));
    }
  }
  return json;
}

std::string render_text(const SweepStatus& status) {
  std::vector<std::string> counts;
  for (const auto& [state, count] : counts_of(status)) counts.push_back(fmt::format("{} {}", count, state_name(state)));
  Table running{.title = "Running", .columns = {"cell", "step", "since"}, .rows = {}, .notes = {}};
  Table failed{.title = "Failed", .columns = {"cell", "state", "error", "last words"}, .rows = {}, .notes = {}};
  std::vector<std::string> left;
  int interrupted = 0;
  for (const RepeatStatus& repeat : status.repeats) {
    if (repeat.running) running.rows.push_back({name_of(repeat), step_text(repeat), clock_text(repeat.age_s)});
    if (repeat.has_failed()) {
      failed.rows.push_back({name_of(repeat), std::string(state_name(*repeat.state)), repeat.error, repeat.last_words});
    }
    if (repeat.is_left()) left.push_back(name_of(repeat));
    if (repeat.is_left() && repeat.state) ++interrupted;
  }
  std::string text = fmt::format("{}: {} repeats: {}{}{} running, {} left{}\n", status.name, status.repeats.size(),
                                 fmt::join(counts, ", "), counts.empty() ? "" : ", ", running.rows.size(), left.size(),
                                 interrupted > 0 ? fmt::format(" ({} interrupted)", interrupted) : "");
  for (const Table* table : {&running, &failed}) {
    if (!table->rows.empty()) text += fmt::format("\n{}", render_text(*table));
  }
  if (!left.empty()) {
    const size_t named = std::min(left.size(), kNamedLeft);
    text +=
        fmt::format("\nLeft: {}{}\n", fmt::join(left.begin(), left.begin() + static_cast<std::ptrdiff_t>(named), ", "),
                    named < left.size() ? fmt::format(" and {} more", left.size() - named) : "");
  }
  return text;
}

}  // namespace zo2

#include "experiment/external.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <optional>

#include "base/error.h"
#include "base/sha256.h"
#include "experiment/config_schema.h"
#include "experiment/metrics.h"
#include "experiment/record.h"
#include "experiment/repeat_result.h"

namespace zo2 {
namespace {

namespace fs = std::filesystem;

struct Placeholder {
  std::string_view name;
  std::string_view key;
};
constexpr std::array kPlaceholders{
    Placeholder{"batch", "data.batch"},  Placeholder{"seq", "data.seq"},        Placeholder{"dtype", "engine.dtype"},
    Placeholder{"steps", "train.steps"}, Placeholder{"warmup", "train.warmup"},
};

std::string value_of(std::string_view name, const Json& config) {
  std::string_view key = name;
  for (const Placeholder& placeholder : kPlaceholders) {
    if (placeholder.name == name) key = placeholder.key;
  }
  if (name == "model") key = config_at(config, "model.path").is_null() ? "model.name" : "model.path";
  ZO2_CHECK(
      find_key(key) != nullptr, UsageError,
      "method.command: unknown placeholder {{{}}}; known are {{model}}, {{batch}}, {{seq}}, {{dtype}}, {{steps}}, "
      "{{warmup}} and any dotted key",
      name);
  return json_text(config_at(config, key));
}

// A brace that does not hold a name, as in JSON, stays as it is.
std::string substituted(const std::string& word, const Json& config) {
  constexpr std::string_view kNameLetters = "abcdefghijklmnopqrstuvwxyz_.";
  std::string text;
  for (size_t i = 0; i < word.size();) {
    const size_t end = word[i] == '{' ? word.find_first_not_of(kNameLetters, i + 1) : std::string::npos;
    if (end != std::string::npos && word[end] == '}' && end > i + 1) {
      text += value_of(std::string_view(word).substr(i + 1, end - i - 1), config);
      i = end + 1;
    } else {
      text += word[i++];
    }
  }
  return text;
}

// What follows the marker in the last line that begins with it.
std::optional<std::string> marked_line(const fs::path& path, const std::string& marker) {
  std::ifstream stream(path);
  std::optional<std::string> found;
  std::string line;
  while (std::getline(stream, line)) {
    if (line.starts_with(marker)) found = line.substr(marker.size());
  }
  return found;
}

bool says_out_of_memory(const fs::path& path) {
  constexpr std::array<std::string_view, 3> kWords{"CUDA out of memory", "CUDA error: out of memory",
                                                   "torch.OutOfMemoryError"};
  std::ifstream stream(path);
  std::string line;
  while (std::getline(stream, line)) {
    if (std::ranges::any_of(kWords, [&](std::string_view words) { return line.find(words) != std::string::npos; })) {
      return true;
    }
  }
  return false;
}

Json failure(State state, const std::string& config_hash, const std::string& error) {
  Json report = make_result(state, config_hash);
  report["error"] = error;
  return report;
}

bool is_number(const Json& value) {
  try {
    number_from_json(value);
    return true;
  } catch (const UsageError&) {
    return false;
  }
}

// Throws UsageError when the line is not what it should be.
Json report_from(const std::string& line, const std::string& config_hash) {
  const Json said = Json::parse(line, nullptr, false);
  ZO2_CHECK(said.is_object(), UsageError, "expected a JSON object, found '{}'", line.substr(0, 200));
  State state = State::ok;
  if (said.contains("state")) {
    const Json& name = said["state"];
    ZO2_CHECK(name == "ok" || name == "oom" || name == "diverged", UsageError,
              "state: expected ok, oom or diverged, found {}", name.dump());
    state = parse_state(name.get<std::string>());
  }
  Json report = make_result(state, config_hash);
  std::vector<std::string> unknown;
  for (const auto& [name, value] : said.items()) {
    if (name == "state") continue;
    if (name == "error" && value.is_string()) {
      report["error"] = value;
    } else if (name == "device" && (value == "cpu" || value == "cuda")) {
      report["chosen"]["device"] = value;
    } else if (find_metric(name) != nullptr && is_number(value)) {
      report["metrics"][name] = value;
    } else {
      report["extra"][name] = value;
      unknown.push_back(name);
    }
  }
  if (!unknown.empty()) {
    report["warnings"].push_back(
        fmt::format("not in the metric table, or no number, and so kept under extra: {}", fmt::join(unknown, ", ")));
  }
  return report;
}

}  // namespace

bool is_external(const Json& config) { return config_at(config, "method.name") == "external"; }

std::vector<std::string> external_command(const Json& config) {
  ZO2_CHECK(!config_at(config, "engine.project").get<bool>(), UsageError,
            "method external has no plan to project from: leave engine.project out");
  const Json& words = config_at(config, "method.command");
  ZO2_CHECK(
      words.is_array() && !words.empty(), UsageError,
      "method external needs method.command, a list of words such as [python3, other.py, --batch, \"{{batch}}\"]");
  std::vector<std::string> command;
  for (const Json& word : words) command.push_back(substituted(word.get<std::string>(), config));
  return command;
}

std::string external_sha256(const std::vector<std::string>& command) {
  Json parts = Json::array();
  for (const std::string& word : command) {
    std::error_code error;
    parts.push_back(fs::is_regular_file(word, error) ? sha256_hex_of_file(word) : word);
  }
  return sha256_hex(parts.dump());
}

void report_external(const fs::path& folder, const Json& config, const std::string& config_hash,
                     const ProcessResult& process) {
  const auto marker = config_at(config, "method.marker").get<std::string>();
  Json report;
  try {
    if (const auto line = marked_line(folder / "stdout.log", marker)) report = report_from(*line, config_hash);
  } catch (const UsageError& error) {
    report = failure(State::crashed, config_hash, fmt::format("its line '{}...': {}", marker, error.what()));
  }
  const bool ended_well = process.exit_code == 0 && !report.is_null();
  if (!ended_well && (report.is_null() || report["state"] == "ok")) {
    if (says_out_of_memory(folder / "stderr.log") || says_out_of_memory(folder / "stdout.log")) {
      report = failure(State::oom, config_hash, "its output says that CUDA was out of memory");
    } else if (process.exit_code == 0) {
      report = failure(State::crashed, config_hash, fmt::format("it printed no line that begins with '{}'", marker));
    }
  }
  if (!report.is_null()) write_file_atomically(folder / kReportedFile, report.dump(2) + "\n");
}

}  // namespace zo2

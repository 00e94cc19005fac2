// How far a sweep is, read from its folder while it runs or later.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "experiment/record.h"

namespace zo2 {

struct RepeatStatus {
  std::string slug{};
  int repeat = 0;
  std::filesystem::path folder{};  // of the record, there or to come
  bool running = false;            // some process holds it now
  std::optional<State> state{};    // of its record, while it does not run
  std::string error{};             // why it failed
  std::string last_words{};        // the last line of its standard error, when it failed
  // While it runs; age_s since it began.
  int64_t step = 0;
  int64_t steps = 0;
  double age_s = 0;

  // Still to be run: interrupted ones too.
  bool is_left() const { return !running && (!state || *state == State::interrupted); }
  bool has_failed() const { return state && is_failure(*state) && *state != State::interrupted; }
};

struct SweepStatus {
  std::string name;
  std::vector<RepeatStatus> repeats;  // cell by cell, all that experiment.json names
};

// Throws IoError when DIR is not a folder of `zo2 run`.
SweepStatus read_status(const std::filesystem::path& dir);

// {"schema": 1, "name", "total", "counts": {state: number}, "running": [...], "failed": [...], "left": [...]}; folders
// are relative to DIR. Counts are of the repeats that are neither running nor left: all three make the total. One that
// is left because it was interrupted has that "state".
Json to_json(const SweepStatus& status, const std::filesystem::path& dir);
std::string render_text(const SweepStatus& status);

}  // namespace zo2

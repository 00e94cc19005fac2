// Records: the files that a repeat leaves behind, and how they are read and written.
//
//   DIR/experiment.json                       name, cells in order, expectations (manifest.h)
//   DIR/cells/<slug>-<hash8>/r<k>/config.json   {"schema": 1, "experiment", "slug", "repeat", "config_hash", "config"}
//                                env.json      machine, program and build, written before the repeat starts
//                                samples.jsonl one JSON value a line, appended while it runs (.gz once it was packed)
//                                stdout.log, stderr.log
//                                result.json   written last, by rename: its presence means that the repeat has ended
//   result.json: {"schema": 1, "state", "config_hash", "metrics": {name: number}, "hashes": {"initial_weights",
//                 "final_weights"}, "chosen": {what auto became}, "warnings": [text], "error": text unless ok,
//                 "throttle_reasons": [names, base/nvml.h] where a GPU was watched}
// Integers are exact; floats read back to the same bits; non-finite ones are the strings "nan", "inf", "-inf".
// The process of a repeat writes samples and what it has to report (repeat_result.h); the runner adds
// host_rss_peak_bytes, wall_s and what it saw of the GPU (gpu_sampler.h), and makes the result of it. Until then the
// folder's name is another (sweep_folder.h).
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"

namespace zo2 {

inline constexpr int kRecordSchema = 1;

enum class State : uint8_t {
  ok,
  oom,
  timeout,
  crashed,
  diverged,
  interrupted,
  skipped,
  throttled,
  projected,  // forecast, not run
};
std::string_view state_name(State state);
State parse_state(std::string_view name);  // throws UsageError
// Neither measured, nor forecast, nor left out on purpose.
bool is_failure(State state);
// "2 ok, 1 crashed", in the order of State.
std::string state_counts(std::span<const State> states);

// What a cell's process is asked to do.
struct CellRequest {
  std::string experiment;
  std::string slug;
  int repeat = 0;
  std::string config_hash;
  Json config;
};
Json to_json(const CellRequest& request);
CellRequest read_cell_request(const std::filesystem::path& folder);  // throws IoError, UsageError

// One training step. With n direction pairs the vectors have n elements.
struct StepSample {
  int64_t step = 0;
  uint64_t seed = 0;
  std::vector<double> loss_plus;
  std::vector<double> loss_minus;
  std::vector<double> projected_gradient;
  double step_ms = 0;
};

// Appends lines to samples.jsonl; each is written whole by one write, and survives the death of the process (not of
// the machine). Keeps the lines of an earlier start about steps before `next_step` and drops the others, which will be
// written again; 0 starts a new file.
class SampleWriter {
 public:
  explicit SampleWriter(const std::filesystem::path& folder, int64_t next_step = 0);
  void write(const StepSample& sample);
  void write(const Json& line);  // any other kind: must have "kind"

 private:
  File file_;
};

// The lines of samples.jsonl; a last line without its end is left out. Empty when there is no file.
// Throws UsageError, with the line, for anything else that is not JSON.
std::vector<Json> read_sample_lines(const std::filesystem::path& folder);
std::vector<StepSample> read_samples(const std::filesystem::path& folder);  // those of kind "step"

// A skeleton of result.json with the required members.
Json make_result(State state, const std::string& config_hash);
// Writes result.json atomically.
void write_result(const std::filesystem::path& folder, const Json& result);

struct Record {
  std::filesystem::path folder;
  CellRequest request;
  Json result;
  Json environment = Json::object();  // env.json; empty when there is none
  State state = State::ok;

  // The other system that an imported record (import.h) is of; empty for ours.
  std::string system() const;
  // The model's name, or the name of its checkpoint's folder.
  std::string model() const;
  // The metric's value, if the record has it.
  std::optional<double> metric(std::string_view name) const;
  // A member of "hashes"; empty when absent.
  std::string hash(std::string_view name) const;
  // Bytes, when the metric is an integer.
  std::optional<int64_t> bytes(std::string_view name) const;
};

// nullopt while the repeat has not ended. Throws UsageError when a file is not what it should be.
std::optional<Record> read_record(const std::filesystem::path& folder);
// Every ended repeat under DIR/cells: cells in the order of experiment.json, then others by name. Throws IoError when
// DIR has no cells folder.
std::vector<Record> read_records(const std::filesystem::path& dir);

// Indices of the records of each cell (of one system), cells in the order of their first records.
std::vector<std::vector<size_t>> by_cell(const std::vector<Record>& records);

}  // namespace zo2

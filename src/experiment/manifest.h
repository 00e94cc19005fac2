// Manifests: from a YAML file to the cells of an experiment. See experiments/quick.yaml for an example, and
// manifest_keys() below for the keys.
//
// Later settings win: extends, file, variant, matrix and zip, then -S key=value, which also replaces an axis over that
// key. Cells are the product of the axes: the zip first, then those of the matrix in the order written, the last one
// fastest; equal cells are kept once.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "experiment/problems.h"

namespace zo2 {

// A key of a manifest's top level.
struct ManifestKey {
  std::string_view name;
  std::string_view form;     // what is written after it
  std::string_view meaning;  // one line
  bool in_variant = true;    // may stand in a variant too
};
std::span<const ManifestKey> manifest_keys();

struct Setting {
  Json value;
  Position where;
};
using Settings = std::map<std::string, Setting>;  // by dotted key

struct Axis {
  std::string name;
  std::vector<Settings> choices;
};

// What a cell must have: for each key, one of the values.
using Condition = std::map<std::string, std::vector<Json>>;

struct Exclusion {
  Condition where;
  std::string reason;
};

struct Expectation {
  Condition where;
  std::string metric;             // a name in metric_table()
  std::optional<double> at_most;  // in the metric's unit
  std::optional<double> at_least;
  std::string written;  // the bound as the manifest has it: "at most 18.04 GB"
  std::string source;   // who says so
};

// interleaved: all cells' first repeats, then all second ones, so that drift does not favour a cell; sequential: all
// repeats of a cell, then those of the next.
enum class RepeatOrder : uint8_t { interleaved, sequential };

struct Manifest {
  std::string name;
  Settings defaults;
  std::vector<Axis> matrix;  // the zip, where there is one, is the first
  std::vector<Exclusion> exclude;
  std::vector<Expectation> expect;
  int repeats = 1;
  RepeatOrder order = RepeatOrder::interleaved;
  double timeout_s = 0;  // 0: no limit
};

// One fully resolved configuration.
struct Cell {
  Json config;                             // every key of config_schema(), before any `auto` is decided
  std::string slug;                        // the keys that vary, e.g. "opt-125m-zo2"
  std::string config_hash;                 // 64 hexadecimal digits
  std::optional<std::string> skip_reason;  // why it is excluded

  std::string folder_name() const { return slug + "-" + config_hash.substr(0, 8); }
};

struct ManifestOptions {
  std::string variant;                 // empty: none
  std::vector<std::string> overrides;  // "key=value", "vars.name=value"
};

struct Experiment {
  Manifest manifest;  // after extends, variant and overrides
  std::vector<Cell> cells;
  std::string file;  // what was read, to say how to run it again: "experiments/quick.yaml", elsewhere the name alone
  ManifestOptions options;
};

// Reads and resolves a manifest. Throws IoError when a file cannot be read, else one UsageError that lists everything
// that is wrong in files and overrides, a line each: "file:line:column: message".
Experiment load_experiment(const std::filesystem::path& path, const ManifestOptions& options = {});

// One repeat of one cell.
struct Turn {
  size_t cell = 0;  // index into Experiment::cells
  int repeat = 0;
};
// All repeats in the order to run them. An excluded cell has one, which only records why.
std::vector<Turn> turns(const Experiment& experiment);

bool matches(const Condition& where, const Json& config);

// What DIR/experiment.json holds: the name, cells, expectations and how they were asked for, for commands that read DIR
// later.
Json to_json(const Experiment& experiment);
std::vector<Expectation> expectations_from_json(const Json& experiment);
// ["experiments/quick.yaml", "--variant", "small", "-S", "key=value"]; empty when it does not say.
std::vector<std::string> run_arguments_from_json(const Json& experiment);

}  // namespace zo2

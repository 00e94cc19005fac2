// Manifests: from a YAML file to the cells of an experiment. See experiments/quick.yaml for an example.
//
//   name: text                     extends: path, relative to this file; read first, then this file over it
//   defaults: {section: {key: value}} or {section.key: value}
//   matrix: {axis: [...]}          axis = a dotted key with values, or any other name with a list of maps of dotted
//                                  keys (a zip: one choice sets several keys). `axis: null` drops an inherited axis.
//   exclude: [{where: {key: value or list}, reason: text}]          appended to the inherited ones
//   repeats: count                 timeout: seconds a repeat may take (0: no limit)
//   expect: [{where: ..., metric: name, at_most | at_least: value, source: text}]
//   variants: {name: {defaults, matrix, exclude, repeats, timeout, expect}}   merged over the rest by --variant
//
// Later settings win: extends, file, variant, matrix, then -S key=value, which also replaces an axis over that key.
// Cells are the product of the axes in the order written, the last axis fastest; equal cells are kept once.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"

namespace zo2 {

// Where something was written; line and column count from 1. Line 0: the command line.
struct Position {
  std::string file;
  int line = 0;
  int column = 0;
};

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

struct Manifest {
  std::string name;
  Settings defaults;
  std::vector<Axis> matrix;
  std::vector<Exclusion> exclude;
  std::vector<Expectation> expect;
  int repeats = 1;
  double timeout_s = 0;
};

// One fully resolved configuration.
struct Cell {
  Json config;                             // every key of config_schema(), before any `auto` is decided
  std::string slug;                        // the keys that vary, e.g. "opt-125m-zo2"
  std::string config_hash;                 // 64 hexadecimal digits
  std::optional<std::string> skip_reason;  // why it is excluded

  std::string folder_name() const { return slug + "-" + config_hash.substr(0, 8); }
};

struct Experiment {
  Manifest manifest;  // after extends, variant and overrides
  std::vector<Cell> cells;
};

struct ManifestOptions {
  std::string variant;                 // empty: none
  std::vector<std::string> overrides;  // "key=value"
};

// Reads and resolves a manifest. Throws IoError when a file cannot be read, else one UsageError that lists everything
// that is wrong in files and overrides, a line each: "file:line:column: message".
Experiment load_experiment(const std::filesystem::path& path, const ManifestOptions& options = {});

bool matches(const Condition& where, const Json& config);

// What DIR/experiment.json holds: the name, cells and expectations, for commands that read DIR later.
Json to_json(const Experiment& experiment);
std::vector<Expectation> expectations_from_json(const Json& experiment);

}  // namespace zo2

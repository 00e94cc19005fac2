// One manifest file as written: YAML turned into typed parts, with every mistake noted and none fatal. Merging and
// resolving is in manifest.cpp; the format is described in manifest.h.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "experiment/manifest.h"

namespace zo2 {

// Collects what is wrong, so that all of it can be reported at once.
class Problems {
 public:
  void add(const Position& where, const std::string& message);
  // `key` had a mistake and is left out: later checks that depend on it are skipped.
  void poison(const std::string& key) { poisoned_.insert(key); }
  bool poisoned(const std::string& key) const { return poisoned_.contains(key); }
  // Throws UsageError with a line each, in order of file and position.
  void throw_if_any() const;

 private:
  std::set<std::tuple<std::string, int, int, std::string>> lines_;
  std::set<std::string> poisoned_;
};

// The parts that a file and a variant have in common. An axis without choices drops the inherited one.
struct ManifestBody {
  Settings defaults;
  std::vector<Axis> matrix;
  std::vector<Exclusion> exclude;
  std::optional<std::vector<Expectation>> expect;
  std::optional<int> repeats;
  std::optional<double> timeout_s;
};

struct ManifestFile {
  std::optional<std::string> name;
  std::optional<std::string> extends;
  Position extends_where;
  ManifestBody body;
  std::map<std::string, ManifestBody> variants;
};

// Throws IoError when the file cannot be read.
ManifestFile read_manifest_file(const std::filesystem::path& path, Problems& problems);

// "key=value" from the command line, given to `option`.
void read_override(const std::string& text, Settings& settings, Problems& problems, const std::string& option = "-S");

}  // namespace zo2

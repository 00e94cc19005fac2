// One manifest file as written: YAML turned into typed parts, with every mistake noted and none fatal. Merging and
// resolving is in manifest.cpp; the format is described in manifest.h.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "experiment/manifest.h"
#include "experiment/yaml_reader.h"

namespace zo2 {

// The parts that a file and a variant have in common. An axis without choices drops the inherited one.
struct ManifestBody {
  Settings defaults;
  std::vector<Axis> matrix;
  std::optional<Axis> zip;
  std::vector<Exclusion> exclude;
  std::optional<std::vector<Expectation>> expect;
  std::optional<int> repeats;
  std::optional<RepeatOrder> order;
  std::optional<double> timeout_s;
};

// A file as parsed, before its variables have values: those of a file that extends it and of a variant win.
struct ManifestSource {
  std::string file;
  YAML::Node root;  // undefined when it is not YAML, which is noted
  std::optional<std::string> extends;
  Position extends_where;
  Variables variables;
  std::map<std::string, Variables> variant_variables;
};

// Throws IoError when the file cannot be read.
ManifestSource open_manifest(const std::filesystem::path& path, Problems& problems);

struct ManifestFile {
  std::optional<std::string> name;
  ManifestBody body;
  std::map<std::string, ManifestBody> variants;
};

// `variables_in` gives the variables that a variant's body sees; for the name "", those of the file itself.
ManifestFile read_manifest(const ManifestSource& source,
                           const std::function<Variables(const std::string& variant)>& variables_in,
                           Problems& problems);

// "key=value" from the command line, given to `option`.
void read_override(const std::string& text, Settings& settings, Problems& problems, const std::string& option = "-S");

}  // namespace zo2

// The options of `zo2 run` that say which cells: shared with the commands that write a `zo2 run` for later.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "experiment/manifest.h"
#include "experiment/selection.h"

namespace zo2 {

inline void add_manifest_options(CLI::App& command, std::string& manifest, ManifestOptions& options) {
  command.add_option("manifest", manifest, "YAML file, e.g. experiments/quick.yaml")->required();
  command.add_option("--variant", options.variant, "a variant that the manifest names, e.g. small");
  command.add_option("-S,--set", options.overrides, "key=value, over everything; may be given often")
      ->allow_extra_args(false);
}

inline void add_selection_options(CLI::App& command, Selection& selection) {
  command
      .add_option(
          "--only", selection.only,
          "these cells only: a pattern over slugs ('*-zo2-*') or key=value; given often, a cell must match each "
          "key, and one of the patterns")
      ->allow_extra_args(false);
  command.add_option("--exclude", selection.exclude, "leave out the cells that match; may be given often")
      ->allow_extra_args(false);
}

}  // namespace zo2

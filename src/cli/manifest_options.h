// The options of every command that reads a manifest.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "experiment/manifest.h"

namespace zo2 {

inline void add_manifest_options(CLI::App& command, std::string& manifest, ManifestOptions& options) {
  command.add_option("manifest", manifest, "YAML file, e.g. experiments/quick.yaml")->required();
  command.add_option("--variant", options.variant, "a variant that the manifest names, e.g. small");
  command
      .add_option("-S,--set", options.overrides, "key=value, or vars.name=value, over everything; may be given often")
      ->allow_extra_args(false);
}

}  // namespace zo2

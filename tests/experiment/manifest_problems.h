// What is wrong with a manifest, for tests.
#pragma once

#include <filesystem>
#include <string>

#include "base/error.h"
#include "experiment/manifest.h"

namespace zo2 {

inline std::string problems_of(const std::filesystem::path& path, const ManifestOptions& options = {}) {
  try {
    load_experiment(path, options);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "no problem";
}

}  // namespace zo2

// One archive of a folder of records, to keep or to send: what `zo2 report` needs, and checksums.
//
//   NAME/experiment.json
//   NAME/cells/<cell>/r<k>/  config.json, env.json, result.json, samples.jsonl.gz, trace.json.gz
//   NAME/imported/...        the same
//   NAME/SHA256SUMS          of all other files, as `sha256sum -c` reads it
//
// NAME is the experiment's. Repeats that have not ended, and what they printed, are left out. Equal records make equal
// bytes, wherever and whenever they are packed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace zo2 {

// What fits beside source code: limits for records that are committed.
inline constexpr int64_t kCellLimitBytes = 300'000;
inline constexpr int64_t kTotalLimitBytes = 10'000'000;

struct PackSummary {
  size_t records = 0;
  size_t files = 0;
  int64_t bytes = 0;                  // of the files as packed, before the archive is compressed
  std::vector<std::string> warnings;  // cells, or all of it, beyond the limits
};

// `archive` ends in .tar.gz or .tar.zst. Throws UsageError for another name, IoError.
PackSummary pack_records(const std::filesystem::path& dir, const std::filesystem::path& archive);

}  // namespace zo2

#include "experiment/pack.h"

#include <map>

#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"
#include "experiment/archive.h"
#include "experiment/import.h"
#include "experiment/record.h"
#include "experiment/record_folder.h"

namespace zo2 {
namespace {

namespace fs = std::filesystem;

// Files of the archive by their path below NAME/, sorted.
using Files = std::map<std::string, std::string>;

void add_record(const fs::path& dir, const fs::path& folder, Files& files) {
  const fs::path below = folder.lexically_relative(dir);
  for (const char* name : {"config.json", "env.json", "result.json", "samples.jsonl.gz", "trace.json.gz"}) {
    if (fs::exists(folder / name)) files[(below / name).string()] = read_file(folder / name);
  }
  for (const char* name : {"samples.jsonl", "trace.json"}) {
    if (fs::exists(folder / name)) files[(below / name).string() + ".gz"] = gzip(read_file(folder / name));
  }
}

std::vector<std::string> size_warnings(const Files& files, int64_t total) {
  std::map<std::string, int64_t> by_cell;
  for (const auto& [name, bytes] : files) {
    const fs::path repeat = fs::path(name).parent_path();
    if (repeat.has_parent_path()) by_cell[repeat.parent_path().string()] += static_cast<int64_t>(bytes.size());
  }
  std::vector<std::string> warnings;
  const auto limit = [&](const std::string& what, int64_t bytes, int64_t most) {
    if (bytes <= most) return;
    warnings.push_back(fmt::format("{}: {} kB, more than the {} kB that fit beside source code: trace or sample less",
                                   what, bytes / 1000, most / 1000));
  };
  for (const auto& [cell, bytes] : by_cell) limit(cell, bytes, kCellLimitBytes);
  limit("all records", total, kTotalLimitBytes);
  return warnings;
}

}  // namespace

PackSummary pack_records(const fs::path& dir, const fs::path& archive) {
  const RecordFolder folder = read_record_folder(dir, true);
  std::vector<Record> records = folder.records;
  for (Record& record : read_imported_records(dir)) records.push_back(std::move(record));
  Files files;
  if (fs::exists(dir / "experiment.json")) files["experiment.json"] = read_file(dir / "experiment.json");
  for (const Record& record : records) add_record(dir, record.folder, files);

  PackSummary summary{.records = records.size(), .files = files.size() + 1, .bytes = 0, .warnings = {}};
  std::string sums;
  for (const auto& [name, bytes] : files) {
    sums += fmt::format("{}  {}\n", sha256_hex(bytes), name);
    summary.bytes += static_cast<int64_t>(bytes.size());
  }
  summary.warnings = size_warnings(files, summary.bytes);
  TarArchive tar;
  tar.add(folder.name + "/SHA256SUMS", sums);
  for (const auto& [name, bytes] : files) tar.add(folder.name + "/" + name, bytes);
  tar.write(archive);
  return summary;
}

}  // namespace zo2

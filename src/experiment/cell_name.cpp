#include "experiment/cell_name.h"

#include <fnmatch.h>

#include <set>

#include "base/error.h"

namespace zo2 {
namespace {

constexpr size_t kLeastDigits = 4;

bool is_meant(const std::string& text, const CellName& cell) {
  if (text.size() >= kLeastDigits && cell.config_hash.starts_with(text)) return true;
  return fnmatch(text.c_str(), cell.slug.c_str(), 0) == 0 || fnmatch(text.c_str(), cell.folder.c_str(), 0) == 0;
}

}  // namespace

CellName name_of(const Record& record) {
  return {record.request.slug, record.folder.parent_path().filename().string(), record.request.config_hash};
}

std::string find_cell(std::span<const CellName> cells, const std::string& text, const std::string& source) {
  std::set<std::string> known;
  std::set<std::string> meant;
  for (const CellName& cell : cells) {
    known.insert(cell.folder);
    if (is_meant(text, cell)) meant.insert(cell.folder);
  }
  ZO2_CHECK(!meant.empty(), UsageError, "no cell '{}' in {}; there are {}", text, source,
            known.empty() ? "none" : fmt::format("{}", fmt::join(known, ", ")));
  ZO2_CHECK(meant.size() == 1, UsageError, "'{}' means {} cells of {}: {}", text, meant.size(), source,
            fmt::join(meant, ", "));
  return *meant.begin();
}

}  // namespace zo2

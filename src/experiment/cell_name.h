// How the commands that read one cell (`zo2 show`, `profile`, `compare DIR:CELL`) are told which.
#pragma once

#include <span>
#include <string>

#include "experiment/record.h"

namespace zo2 {

// What a cell may be called, for the help of these commands.
inline constexpr const char* kCellNameHelp =
    "its slug or folder, a pattern over these ('*-k8-*'), or the beginning of its config hash (four digits or more)";

struct CellName {
  std::string slug;
  std::string folder;  // under DIR/cells
  std::string config_hash;
};
CellName name_of(const Record& record);

// The folder of the one cell that `text` means: see kCellNameHelp. A cell may be in `cells` often. Throws UsageError
// that names those of `source` when it means none, or several.
std::string find_cell(std::span<const CellName> cells, const std::string& text, const std::string& source);

}  // namespace zo2

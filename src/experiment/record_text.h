// One record in full, as `zo2 show` prints it and the HTML page holds it.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "experiment/record.h"
#include "experiment/table.h"

namespace zo2 {

// The record of the one cell that `cell` means: its slug, its folder's name, a pattern over these, or the beginning of
// its config hash (four digits or more). Without `repeat` the first one that has ended. Throws UsageError that names
// what there is when it means none, or several cells.
Record find_record(const std::filesystem::path& dir, const std::string& cell, std::optional<int> repeat);

// Configuration that differs from the defaults, what auto chose, metrics as people read them, other figures, hashes and
// environment: a table each, of names and values; those that the record does not have are left out.
std::vector<Table> record_tables(const Record& record);
// These, warnings, and the error with the end of standard error.
std::string render_text(const Record& record);
// The same, whole: {"schema": 1, "folder", "request", "changed": {dotted key: value}, "environment", "result"}.
Json to_json(const Record& record);

}  // namespace zo2

// Records as one table for other programs: a row for each repeat.
#pragma once

#include <vector>

#include "experiment/record.h"
#include "experiment/table.h"

namespace zo2 {

// Columns: origin (measured, projected, or the system that was imported), cell, config_hash, repeat, state, processor,
// git_commit; the configuration keys in which the records differ; then every metric that one of them has, with its
// unit: "tokens_per_s [tok/s]". Numbers read back to the same bits; what a record does not have is empty.
Table export_table(const std::vector<Record>& records);

}  // namespace zo2

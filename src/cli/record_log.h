// A cell's record as a step log: its samples have the seed and the losses of every step, from which entries follow as
// they did in the run.
#pragma once

#include <filesystem>

#include "store/step_log.h"

namespace zo2 {

// Whether a folder is a record of `zo2 run` that has ended, rather than a run of `zo2 train`.
bool is_record(const std::filesystem::path& folder);

// The header's base is the recorded hash of the initial weights; its parameter table is not known. Throws UsageError
// when the record is of a method whose weights are no function of a log, holds no hash, or lacks steps.
StepLog log_of_record(const std::filesystem::path& folder);

}  // namespace zo2

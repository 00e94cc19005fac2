// What a pass asks of its operations, the same on every device.
#pragma once

#include "runtime/candidate_loss.h"
#include "runtime/entry_values.h"
#include "runtime/executor.h"

namespace zo2 {

// The rows of activations that an operation goes over.
int64_t rows_of(const Op& op, const PassInput& input);

// The row of its table that a gather looks up for a token of the batch.
int64_t gathered_row(const Op& op, const Batch& batch, int64_t token);

// Whether a weight writes its base back in this pass.
bool commits(const Plan& plan, int weight, const PassInput& input);

// Whether an operation has nothing to do in this pass (ScheduledOp::rare).
bool left_out(const Plan& plan, const PlannedPass& planned, const ScheduledOp& scheduled, const PassInput& input);

// What Program::groups holds: sequence_ends, example_ends and answers, one after another.
std::vector<int32_t> packed_groups(const Batch& batch);
CandidateGroups unpacked_groups(const int32_t* packed, const Batch& batch);

// The log's entry of one pair of a step.
LogEntry log_entry(int64_t step, int pair, uint64_t seed, double learning_rate, double loss_plus, double loss_minus,
                   const EntryValues& values);

}  // namespace zo2

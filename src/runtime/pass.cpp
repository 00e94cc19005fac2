#include "runtime/pass.h"

namespace zo2 {

int64_t rows_of(const Op& op, const PassInput& input) {
  return op.extent == Extent::tokens ? input.batch.batch * input.batch.seq
                                     : static_cast<int64_t>(input.batch.rows.size());
}

int64_t gathered_row(const Op& op, const Batch& batch, int64_t token) {
  if (op.index == GatherIndex::tokens) return batch.tokens[static_cast<size_t>(token)];
  const int64_t position = batch.positions.empty() ? token % batch.seq : batch.positions[static_cast<size_t>(token)];
  return position + op.index_offset;
}

bool commits(const Plan& plan, int weight, const PassInput& input) {
  const CommitRule& rule = plan.commits[weight];
  return input.pass == 0 && rule.commits_at(input.step) && rule.folded_steps(input.step) < input.step;
}

bool left_out(const Plan& plan, const PlannedPass& planned, const ScheduledOp& scheduled, const PassInput& input) {
  return scheduled.rare && !commits(plan, planned.program.tiles[planned.program.ops[scheduled.op].tile].weight, input);
}

std::vector<int32_t> packed_groups(const Batch& batch) {
  std::vector<int32_t> packed = batch.sequence_ends;
  packed.insert(packed.end(), batch.example_ends.begin(), batch.example_ends.end());
  packed.insert(packed.end(), batch.answers.begin(), batch.answers.end());
  return packed;
}

CandidateGroups unpacked_groups(const int32_t* packed, const Batch& batch) {
  const int32_t* example_ends = packed + batch.sequence_ends.size();
  return {packed, example_ends, example_ends + batch.example_ends.size()};
}

LogEntry log_entry(int64_t step, int pair, uint64_t seed, double learning_rate, double loss_plus, double loss_minus,
                   const EntryValues& values) {
  LogEntry entry;
  entry.step = static_cast<uint32_t>(step);
  entry.pair = static_cast<uint16_t>(pair);
  if (!values.finite) entry.flags = kLogNonFinite;
  entry.seed = seed;
  entry.alpha = values.alpha;
  entry.decay = values.decay;
  entry.loss_plus = loss_plus;
  entry.loss_minus = loss_minus;
  entry.projected_gradient = values.projected_gradient;
  entry.learning_rate = learning_rate;
  return entry;
}

}  // namespace zo2

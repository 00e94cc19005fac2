#include "runtime/pass.h"

namespace zo2 {

int64_t rows_of(const Op& op, const PassInput& input) {
  return op.extent == Extent::tokens ? input.batch.batch * input.batch.seq
                                     : static_cast<int64_t>(input.batch.rows.size());
}

bool commits(const Plan& plan, int weight, const PassInput& input) {
  const CommitRule& rule = plan.commits[weight];
  return input.pass == 0 && rule.commits_at(input.step) && rule.folded_steps(input.step) < input.step;
}

bool left_out(const Plan& plan, const PlannedPass& planned, const ScheduledOp& scheduled, const PassInput& input) {
  return scheduled.rare && !commits(plan, planned.program.tiles[planned.program.ops[scheduled.op].tile].weight, input);
}

}  // namespace zo2

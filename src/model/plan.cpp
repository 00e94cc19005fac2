#include "model/plan.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace zo2 {
namespace {

// The share of a weight's rows that are not resident.
double streamed_share(const Plan& plan, int weight) {
  const std::vector<Tile>& tiles = plan.any().program.tiles;
  int64_t streamed = 0;
  for (size_t tile = 0; tile < tiles.size(); ++tile) {
    if (tiles[tile].weight == weight && !plan.layout.resident(static_cast<int>(tile))) streamed += tiles[tile].rows;
  }
  return static_cast<double>(streamed) / static_cast<double>(plan.table.weights[weight].rows);
}

}  // namespace

int64_t Plan::widest_tile_bytes() const {
  int64_t widest = 0;
  for (const Tile& tile : any().program.tiles) widest = std::max(widest, tile.count() * dtype_bytes(settings.dtype));
  return widest;
}

Plan make_plan(const ModelConfig& config, const PlanSettings& settings, const AttentionWorkspace& workspace) {
  ZO2_CHECK(settings.pairs >= 0 && settings.pairs <= kMaxPendingEntries, UsageError,
            "perturbations: {} is out of range; between 1 and {}", settings.pairs, kMaxPendingEntries);
  ZO2_CHECK(settings.writeback_every >= 1, UsageError, "writeback_every: {} must be at least 1",
            settings.writeback_every);
  ZO2_CHECK(settings.pairs == 0 || settings.writeback_every <= kMaxPendingEntries / settings.pairs, UsageError,
            "writeback_every {} x perturbations {} leaves more than {} entries pending at a visit",
            settings.writeback_every, settings.pairs, kMaxPendingEntries);
  ZO2_CHECK(settings.pairs > 0 || settings.evaluation, UsageError, "nothing to plan: neither training nor evaluation");
  Plan plan;
  plan.config = config;
  plan.settings = settings;
  plan.table = parameters_of(config);

  PassShape shape{settings.batch,      settings.seq,    settings.pairs,    dtype_bytes(settings.dtype),
                  settings.tile_bytes, settings.scheme, settings.objective};
  std::vector<const Program*> programs;
  if (settings.pairs > 0) {
    plan.training = PlannedPass{emit_program(config, plan.table, shape, workspace), {}, 0};
    programs.push_back(&plan.training->program);
  }
  if (settings.evaluation) {
    shape.pairs = 0;
    plan.evaluation = PlannedPass{emit_program(config, plan.table, shape, workspace), {}, settings.pairs > 0 ? 1 : 0};
    programs.push_back(&plan.evaluation->program);
  }
  plan.layout = plan_layout(plan.table, programs, settings.slots, settings.budget);
  for (auto* pass : {&plan.training, &plan.evaluation}) {
    if (*pass && settings.scheduled) (*pass)->schedule = make_schedule((*pass)->program, plan.layout, settings.overlap);
  }

  for (size_t weight = 0; weight < plan.table.weights.size(); ++weight) {
    plan.commits.push_back({settings.writeback_every, static_cast<int64_t>(weight)});
  }
  if (plan.training) {
    const Program& program = plan.training->program;
    const std::vector<bool> folded = folded_tiles(program);
    for (size_t tile = 0; tile < folded.size(); ++tile) {
      if (folded[tile]) plan.commits[program.tiles[tile].weight].period = kMaxPendingEntries / settings.pairs;
    }
  }
  return plan;
}

Traffic traffic_per_step(const Plan& plan) {
  const Program& program = plan.any().program;
  const int64_t elt_bytes = dtype_bytes(plan.settings.dtype);
  double up = 0;
  double down = 0;
  for (const Op& op : program.ops) {
    if (op.kind == OpKind::gather) {  // one for each pair
      up += streamed_share(plan, op.weight) * static_cast<double>(program.shape.tokens() * op.out_cols * elt_bytes);
      continue;
    }
    if ((op.kind != OpKind::visit && op.kind != OpKind::fold) || plan.layout.resident(op.tile)) continue;
    if (op.kind == OpKind::visit && op.branch != 0) continue;
    const Tile& tile = program.tiles[op.tile];
    const auto bytes = static_cast<double>(tile.count() * elt_bytes);
    const auto period = static_cast<double>(plan.commits[tile.weight].period);
    up += op.kind == OpKind::fold ? bytes / period : bytes;
    if (program.shape.training()) down += bytes / period;
  }
  return {std::llround(up), std::llround(down)};
}

}  // namespace zo2

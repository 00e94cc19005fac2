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

// Whether launching the operations of a pass takes longer than running them: 5 to 10 us each, beside what an H100 needs
// for products and visits.
bool is_short(const Program& program, const ParameterTable& table) {
  constexpr double kFlopsPerSecond = 5e14;
  constexpr double kVisitedPerSecond = 2.5e11;
  constexpr double kLaunchSeconds = 10e-6;
  const auto parameters = static_cast<double>(table.count());
  const double flops = 2.0 * program.shape.branches() * static_cast<double>(program.shape.tokens()) * parameters;
  const double seconds = flops / kFlopsPerSecond + parameters / kVisitedPerSecond;
  const auto launched = std::ranges::count_if(program.ops, [](const Op& op) { return !is_copy(op.kind); });
  return seconds < kLaunchSeconds * static_cast<double>(launched);
}

}  // namespace

std::vector<const PlannedPass*> Plan::passes() const {
  std::vector<const PlannedPass*> present;
  for (const auto* pass : {&training, &evaluation, &prefill, &decode}) {
    if (pass->has_value()) present.push_back(&**pass);
  }
  return present;
}

int64_t Plan::cache_bytes() const {
  int64_t bytes = 0;
  if (!prefill) return bytes;
  for (const Buffer& buffer : prefill->program.buffers) bytes += buffer.shared ? buffer.bytes : 0;
  return bytes;
}

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
  const GenerationShape& generation = settings.generation;
  ZO2_CHECK(settings.pairs > 0 || settings.evaluation || generation.batch > 0, UsageError,
            "nothing to plan: neither training nor evaluation nor generation");
  ZO2_CHECK(generation.batch == 0 || generation.new_tokens > 0, UsageError, "{} new tokens; at least 1",
            generation.new_tokens);
  Plan plan;
  plan.config = config;
  plan.settings = settings;
  plan.table = parameters_of(config);

  PassShape shape{settings.batch,      settings.seq,    settings.pairs,    dtype_bytes(settings.dtype),
                  settings.tile_bytes, settings.scheme, settings.objective};
  shape.labels = settings.labels;
  std::vector<const Program*> programs;
  const auto add = [&](std::optional<PlannedPass>& pass) {
    shape.scratch_sets = 1;
    pass = PlannedPass{emit_program(config, plan.table, shape, workspace), {}, static_cast<int>(programs.size())};
    if (settings.graphs && settings.budget.bytes == ArenaBudget::kAll && is_short(pass->program, plan.table)) {
      pass->graph = true;
      shape.scratch_sets = 2;  // in a graph, operations that share no memory run side by side
      pass->program = emit_program(config, plan.table, shape, workspace);
    }
    programs.push_back(&pass->program);
    shape.tile_bytes = pass->program.shape.tile_bytes;  // all passes have the tiles of the first
  };
  if (settings.pairs > 0) add(plan.training);
  shape.pairs = 0;
  if (settings.evaluation) add(plan.evaluation);
  if (generation.batch > 0) {
    shape.batch = generation.batch;
    shape.seq = generation.prompt;
    shape.generation = Generation::prefill;
    shape.cache_tokens = generation.cache_tokens();
    add(plan.prefill);
    shape.seq = 1;
    shape.generation = Generation::decode;
    if (shape.cache_tokens > 0) add(plan.decode);
  }
  plan.layout = plan_layout(plan.table, programs, settings.slots, settings.budget);
  for (auto* pass : {&plan.training, &plan.evaluation, &plan.prefill, &plan.decode}) {
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

Plan plan_answers(Plan& training, const GenerationShape& generation, const AttentionWorkspace& workspace) {
  PlanSettings settings = training.settings;
  settings.pairs = 0;
  settings.tile_bytes = training.any().program.shape.tile_bytes;
  settings.generation = generation;
  PlanSettings tried = settings;
  tried.scheduled = false;
  if (tried.budget.bytes != ArenaBudget::kAll) tried.budget.bytes = ArenaBudget::kSmallest;
  int64_t fits = 1;
  int64_t beyond = generation.batch + 1;
  while (fits + 1 < beyond) {
    tried.generation.batch = (fits + beyond) / 2;
    const bool fit = make_plan(training.config, tried, workspace).layout.arena_bytes <= training.layout.arena_bytes;
    (fit ? fits : beyond) = tried.generation.batch;
  }
  settings.generation.batch = fits;
  Plan answers = make_plan(training.config, settings, workspace);
  training.answers_arena_bytes = answers.layout.arena_bytes;
  return answers;
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

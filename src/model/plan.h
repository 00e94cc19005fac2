// Everything about a run that is decided before it starts: parameters, programs, the arena, the schedules, the commit
// rules. A pure function of the model and the settings; needs no device.
#pragma once

#include <algorithm>
#include <optional>

#include "base/dtype.h"
#include "model/family.h"
#include "program/commit.h"
#include "program/layout.h"
#include "program/schedule.h"

namespace zo2 {

// Batches of prompts that are continued. Their keys and values are kept, in prompt + new_tokens - 1 positions a
// sequence, since the last token is never read; where one token is asked for, none are.
struct GenerationShape {
  int64_t batch = 0;  // sequences at a time; 0: nothing is generated
  int64_t prompt = 0;
  int64_t new_tokens = 0;

  int64_t cache_tokens() const { return new_tokens > 1 ? prompt + new_tokens - 1 : 0; }
};

struct PlanSettings {
  DType dtype = DType::f16;
  int64_t batch = 1;
  int64_t seq = 2048;
  int64_t labels = 0;                   // most labelled tokens of a batch; 0: all may be
  int pairs = 1;                        // 0: evaluation only
  bool evaluation = true;               // plan for evaluations too
  GenerationShape generation;           // and for generating; its batch and sequence are apart from the others'
  Objective objective = Objective::lm;  // of training
  int64_t tile_bytes = 0;               // 0: default_tile_bytes
  Scheme scheme;
  int slots = 4;
  bool overlap = true;
  ArenaBudget budget;
  // CUDA, with ArenaBudget::kAll (graphs take device memory of their own, so that a bound could not be kept): passes
  // whose operations are so short that launching them takes longer are graphs (runtime/cuda/pass_graphs.h).
  bool graphs = false;
  int64_t writeback_every = 1;  // K
  bool scheduled = true;        // false: PlannedPass::schedule stays empty, for who asks about memory only
};

// A program, its schedule, and which of Layout::buffer_offset is its.
struct PlannedPass {
  Program program;
  Schedule schedule;
  int layout_index = 0;
  bool graph = false;  // PlanSettings::graphs
};

struct Plan {
  ModelConfig config;
  PlanSettings settings;
  ParameterTable table;
  std::vector<CommitRule> commits;  // per weight
  Layout layout;
  std::optional<PlannedPass> training;
  std::optional<PlannedPass> evaluation;
  std::optional<PlannedPass> prefill;
  std::optional<PlannedPass> decode;

  std::vector<const PlannedPass*> passes() const;  // those that there are, by layout_index
  const PlannedPass& any() const { return *passes().front(); }
  int64_t cache_bytes() const;  // keys and values of a generation
  // The arena of the plan by which a test's answers are generated once the training is done (plan_answers); 0: none.
  int64_t answers_arena_bytes = 0;
  int64_t arena_bytes() const { return std::max(layout.arena_bytes, answers_arena_bytes); }  // most that a run takes
  int64_t host_bytes() const { return table.count() * dtype_bytes(settings.dtype); }
  int64_t widest_tile_bytes() const;
};

// Throws UsageError for settings that cannot work: too many pending entries, a budget below the smallest arena, a
// sequence longer than the positions.
Plan make_plan(const ModelConfig& config, const PlanSettings& settings,
               const AttentionWorkspace& workspace = cuda_attention_workspace);

// The plan by which the answers of a test are generated after `training`: apart from it, since no step of the training
// should hold a cache of keys and values. For as many prompts at a time, of `generation.batch`, as the training's arena
// has room for, and at least one, whose cache may take a larger arena. Throws UsageError when that is beyond a budget
// in bytes. Notes its arena in `training`.
Plan plan_answers(Plan& training, const GenerationShape& generation, const AttentionWorkspace& workspace);

// Bytes that cross the link in a training step, gathers included. A download of a K-th of the weights a step is the
// mean over K steps; a gather from a table that is partly resident is the mean over its rows.
struct Traffic {
  int64_t upload_bytes = 0;
  int64_t download_bytes = 0;
};
Traffic traffic_per_step(const Plan& plan);

}  // namespace zo2

// Everything about a run that is decided before it starts: parameters, programs, the arena, the schedules, the commit
// rules. A pure function of the model and the settings; needs no device.
#pragma once

#include <optional>

#include "base/dtype.h"
#include "model/family.h"
#include "program/commit.h"
#include "program/layout.h"
#include "program/schedule.h"

namespace zo2 {

struct PlanSettings {
  DType dtype = DType::f16;
  int64_t batch = 1;
  int64_t seq = 2048;
  int pairs = 1;                        // 0: evaluation only
  bool evaluation = true;               // plan for evaluations too
  Objective objective = Objective::lm;  // of training
  int64_t tile_bytes = 0;               // 0: default_tile_bytes
  Scheme scheme;
  int slots = 4;
  bool overlap = true;
  ArenaBudget budget;
  int64_t writeback_every = 1;  // K
  bool scheduled = true;        // false: PlannedPass::schedule stays empty, for who asks about memory only
};

// A program, its schedule, and which of Layout::buffer_offset is its.
struct PlannedPass {
  Program program;
  Schedule schedule;
  int layout_index = 0;
};

struct Plan {
  ModelConfig config;
  PlanSettings settings;
  ParameterTable table;
  std::vector<CommitRule> commits;  // per weight
  Layout layout;
  std::optional<PlannedPass> training;
  std::optional<PlannedPass> evaluation;

  const PlannedPass& any() const { return training ? *training : *evaluation; }
  int64_t host_bytes() const { return table.count() * dtype_bytes(settings.dtype); }
  int64_t widest_tile_bytes() const;
};

// Throws UsageError for settings that cannot work: too many pending entries, a budget below the smallest arena, a
// sequence longer than the positions.
Plan make_plan(const ModelConfig& config, const PlanSettings& settings,
               const AttentionWorkspace& workspace = cuda_attention_workspace);

// Bytes that cross the link in a training step, gathers included. A download of a K-th of the weights a step is the
// mean over K steps; a gather from a table that is partly resident is the mean over its rows.
struct Traffic {
  int64_t upload_bytes = 0;
  int64_t download_bytes = 0;
};
Traffic traffic_per_step(const Plan& plan);

}  // namespace zo2

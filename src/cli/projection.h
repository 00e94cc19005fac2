// Memory and speed of a planned run on a machine that is not here: always marked projected.
#pragma once

#include "base/json.h"
#include "model/plan.h"
#include "program/hardware.h"

namespace zo2 {

// Plans the model for a bound on device memory as NVML counts it, less the idle reading; 0: the smallest arena.
Plan plan_for_device(const ModelConfig& config, PlanSettings settings, int64_t gpu_memory_bytes,
                     const Hardware& hardware);

// {"model", "parameters", "arena_bytes", "tile_bytes", "slots", "resident_bytes", "host_bytes",
//  "upload_bytes_per_step", "download_bytes_per_step", "step_ms", "tokens_per_s", "nvml_projected_bytes",
//  "hardware", "projected": true}
Json project(const Plan& plan, const Hardware& hardware);

}  // namespace zo2

// Memory and speed of a planned run on a machine that is not here: always marked projected.
#pragma once

#include "base/json.h"
#include "model/plan.h"
#include "program/forecast.h"
#include "program/hardware.h"

namespace zo2 {

// Plans the model for a bound on device memory as NVML counts it, less the idle reading; 0: the smallest arena.
// `registered`: page tables of the weights count, as with engine.host: registered.
Plan plan_for_device(const ModelConfig& config, PlanSettings settings, int64_t gpu_memory_bytes,
                     const Hardware& hardware, bool registered = true);

// Whether the weights of a cell are registered in host memory. Those of method mezo are on the device.
bool registers_weights(const Json& config);

// The plan of a cell on that machine; nullptr: on a CPU, where gpu_memory bounds the arena. Throws UsageError for
// method mezo, which has none, and for what cannot be planned. `scheduled` as in PlanSettings.
Plan plan_from_config(const Json& config, const Hardware* hardware, bool scheduled = true);

// experiments/hardware/NAME.yaml
Hardware hardware_by_name(const std::string& name);

// How long a step of the plan takes.
Forecast forecast_plan(const Plan& plan, const Hardware& hardware);

// {"model", "parameters", "arena_bytes", "tile_bytes", "slots", "resident_bytes", "host_bytes",
//  "upload_bytes_per_step", "download_bytes_per_step", "step_ms", "tokens_per_s", "nvml_projected_bytes",
//  "hardware", "projected": true}
Json project(const Plan& plan, const Hardware& hardware, bool registered = true);

}  // namespace zo2

#include "cli/projection.h"

#include "base/bytes.h"
#include "base/error.h"
#include "cli/job_config.h"
#include "experiment/config_schema.h"
#include "experiment/environment.h"

namespace zo2 {

Plan plan_for_device(const ModelConfig& config, PlanSettings settings, int64_t gpu_memory_bytes,
                     const Hardware& hardware, bool registered) {
  if (gpu_memory_bytes > 0) {
    const int64_t host_bytes = registered ? parameters_of(config).count() * dtype_bytes(settings.dtype) : 0;
    const int64_t outside = hardware.nvml_bytes(0, host_bytes) - hardware.idle_bytes();
    ZO2_CHECK(gpu_memory_bytes > outside, UsageError,
              "gpu_memory {} is less than the {} that the context, libraries and page tables take",
              format_bytes(gpu_memory_bytes), format_bytes(outside));
    settings.budget.bytes = gpu_memory_bytes - outside;
  }
  return make_plan(config, settings);
}

bool registers_weights(const Json& config) {
  return config_at(config, "method.name") != "mezo" && config_at(config, "engine.host") == "registered";
}

Plan plan_from_config(const Json& config, const Hardware* hardware, bool scheduled) {
  const Json& method = config_at(config, "method.name");
  ZO2_CHECK(method != "mezo", UsageError, "method mezo has no plan to project from");
  const ModelConfig model = model_from_config(config).config;
  PlanSettings settings = plan_settings_from_config(config);
  settings.scheduled = scheduled;
  const TrainData data = data_from_config(config, model);
  fit_to_data(settings, *data.training, data.evaluation.get(), data.test.get());
  settings.graphs = settings.graphs && hardware != nullptr;
  if (method == "resident") settings.budget.bytes = ArenaBudget::kAll;
  const int64_t bound = method == "resident" ? 0 : gpu_memory_from_config(config);
  if (hardware == nullptr && bound > 0) settings.budget.bytes = bound;
  Plan plan = hardware != nullptr ? plan_for_device(model, settings, bound, *hardware, registers_weights(config))
                                  : make_plan(model, settings);
  const GenerationShape generation = data.test ? data.test->generation() : GenerationShape{};
  if (generation.batch > 0) plan_answers(plan, generation, cuda_attention_workspace);
  return plan;
}

Hardware hardware_by_name(const std::string& name) {
  return read_hardware(experiments_folder() / "hardware" / (name + ".yaml"));
}

Forecast forecast_plan(const Plan& plan, const Hardware& hardware) {
  const PlannedPass& pass = *plan.training;
  return forecast(pass.program, pass.schedule, plan.commits, hardware,
                  static_cast<int>(plan.settings.writeback_every) + 2);
}

Json project(const Plan& plan, const Hardware& hardware, bool registered) {
  ZO2_ASSERT(plan.training);
  const PlannedPass& pass = *plan.training;
  const Traffic traffic = traffic_per_step(plan);
  const Forecast speed = forecast_plan(plan, hardware);
  return {{"model", plan.config.name},
          {"parameters", plan.table.count()},
          {"arena_bytes", plan.arena_bytes()},
          {"tile_bytes", plan.widest_tile_bytes()},
          {"cache_bytes", plan.cache_bytes()},
          {"slots", plan.layout.tile_slots.count},
          {"resident_bytes", plan.layout.resident_bytes},
          {"host_bytes", plan.host_bytes()},
          {"upload_bytes_per_step", traffic.upload_bytes},
          {"download_bytes_per_step", traffic.download_bytes},
          {"step_ms", speed.step_ms},
          {"tokens_per_s", speed.tokens_per_s(pass.program.shape)},
          {"nvml_projected_bytes", hardware.nvml_bytes(plan.arena_bytes(), registered ? plan.host_bytes() : 0)},
          {"hardware", hardware.name},
          {"projected", true}};
}

}  // namespace zo2

// From a configuration (experiment/config_schema.h) to a training job or a plan: shared by cells, train and
// projections.
#pragma once

#include "base/json.h"
#include "cli/model_source.h"
#include "optimizer/train_job.h"

namespace zo2 {

// Sets model.path or model.name from a word of the command line: a Hugging Face folder, or a name.
void set_model(Json& config, const std::string& model);

// The model that model.name, model.path and model.tie_embeddings ask for. Throws UsageError, for example when a
// checkpoint cannot be untied.
ModelSource model_from_config(const Json& config);

// Plan settings but for batch, seq and evaluation, which come from the data. Throws UsageError for what this build
// cannot do.
PlanSettings plan_settings_from_config(const Json& config);

// engine.gpu_memory in bytes; 0 for smallest and all.
int64_t gpu_memory_from_config(const Json& config);

// What the data section describes. A task is trained on its split train, evaluated on dev where train.eval_every asks
// for it, and ends with eval, where it has them.
struct TrainData {
  std::unique_ptr<BatchSource> training;
  std::unique_ptr<EvaluationSet> evaluation;
  std::unique_ptr<EvaluationSet> test;
  Json identity = Json::object();  // what a step log names the data by
};
TrainData data_from_config(const Json& config, const ModelConfig& model);

// How passes run and entries fold, but for the steps to trace and rounded_noise, which follows from the plan's scheme.
ExecutorSettings executor_settings_from_config(const Json& config);

// The configuration that a step log of `zo2 train` tells of: the keys that decide the numbers; the others have their
// defaults. Where weights and data lay is not in it. Throws UsageError when the log is of another program.
Json config_of_log(const StepLogHeader& header, const std::filesystem::path& log);

// A job ready to run, without a folder.
TrainJob job_from_config(const Json& config);

}  // namespace zo2

#include "cli/job_config.h"

#include "base/error.h"
#include "base/sha256.h"
#include "experiment/config_schema.h"
#include "task/task_batches.h"

namespace zo2 {
namespace {

template <typename T>
T get(const Json& config, std::string_view key) {
  return config_at(config, key).get<T>();
}

// What must be equal for a step log to go on, beside what its header has anyway: all keys that decide the numbers, but
// not how long to train, unless the schedule depends on it. Weights and data are named by what they are (the header's
// base hash, `data`), not by where they lie, so that a run goes on and can be shared wherever they are. Ablations of
// the engine are named only where they are on, so that logs from before there were such keys go on.
std::string resume_identity(const Json& config, Json data) {
  Json kept = std::move(data);
  const bool linear = get<std::string>(config, "train.schedule") == "linear";
  for (const KeySpec& spec : config_schema()) {
    const bool length = spec.key == "train.steps" || spec.key == "train.warmup" || spec.key == "train.eval_every" ||
                        spec.key == "train.select" || spec.key == "train.stop_within" ||
                        spec.key == "train.snapshot_every" || spec.key == "engine.threads";
    if (!spec.numerics || (length && !(linear && spec.key == "train.steps"))) continue;
    if (spec.key == "model.path" || spec.key == "data.path") continue;
    if (spec.key == "model.name" && !config_at(config, "model.path").is_null()) continue;
    // zo2 and resident are one program: a run may go on as the other.
    if (spec.key == "method.name") continue;
    const bool ablation = spec.key == "engine.head" || spec.key == "engine.noise_buffer";
    if (ablation && config_at(config, spec.key) == spec.default_value) continue;
    kept[std::string(spec.key)] = config_at(config, spec.key);
  }
  return kept.dump();
}

Objective objective_of(const Json& config) {
  const auto name = get<std::string>(config, "train.objective");
  return name == "candidates" ? Objective::candidates : name == "error_rate" ? Objective::error_rate : Objective::lm;
}

TrainData task_data(const Json& config, const ModelConfig& model) {
  const Json& path = config_at(config, "data.path");
  ZO2_CHECK(path.is_string(), UsageError,
            "data.kind task needs data.path, a folder that scripts/prepare_task.py wrote");
  const auto task = std::make_shared<const Task>(open_task(path.get<std::string>()));
  const TokenFile& train = task->split("train").file;
  for (const auto& [name, split] : task->splits) check_fits(*task, split.file, model);
  const auto seed = get<uint64_t>(config, "data.seed");
  const auto batch = get<int64_t>(config, "data.batch");
  const auto passes = get<int>(config, "method.micro_batches");
  const Objective objective = objective_of(config);
  ZO2_CHECK(objective == Objective::lm || task->kind == TaskKind::candidates, UsageError,
            "task {} has no candidates: set train.objective: lm", task->name);
  TrainData data;
  data.identity = {{"data.sha256", task->manifest.at("splits").at("train").at("tokens_sha256")}};
  data.training = objective == Objective::lm ? right_sequences(train, batch, passes, seed)
                                             : candidate_examples(train, batch, passes, seed);
  const auto evaluation = [&](const char* split, bool answering) {
    return task->splits.contains(split) ? evaluation_of(task, split, objective, data.training->batch_size(), answering)
                                        : nullptr;
  };
  // The best weights are those of the lowest loss, so answers are generated once, at the end.
  if (get<int64_t>(config, "train.eval_every") > 0) data.evaluation = evaluation("dev", false);
  data.test = evaluation("eval", true);
  return data;
}

}  // namespace

void set_model(Json& config, const std::string& model) {
  const bool folder = std::filesystem::is_directory(model);
  config_set(config, "model.path", folder ? Json(model) : Json());
  if (!folder) config_set(config, "model.name", model);
}

ModelSource model_from_config(const Json& config) {
  const Json& path = config_at(config, "model.path");
  ModelSource source;
  if (path.is_null()) {
    source.config = model_by_name(get<std::string>(config, "model.name"));
  } else {
    source = open_model(path.get<std::string>());
  }
  const Json& tie = config_at(config, "model.tie_embeddings");
  if (!tie.is_null()) {
    ZO2_CHECK(!source.checkpoint || tie.get<bool>() == source.config.tie_embeddings, UsageError,
              "model.tie_embeddings: {} has {} embeddings; leave the key out for a checkpoint", path.dump(),
              source.config.tie_embeddings ? "tied" : "untied");
    source.config.tie_embeddings = tie.get<bool>();
  }
  return source;
}

PlanSettings plan_settings_from_config(const Json& config) {
  PlanSettings settings;
  settings.dtype = parse_dtype(get<std::string>(config, "engine.dtype"));
  settings.batch = get<int64_t>(config, "data.batch");
  settings.seq = get<int64_t>(config, "data.seq");
  settings.pairs = get<int>(config, "method.perturbations");
  settings.evaluation = false;
  settings.objective = objective_of(config);
  const Json& tile = config_at(config, "engine.tile");
  settings.tile_bytes = tile.is_string() ? 0 : tile.get<int64_t>();
  const auto granularity = get<std::string>(config, "engine.granularity");
  settings.scheme.granularity = granularity == "block"    ? Granularity::block
                                : granularity == "matrix" ? Granularity::matrix
                                                          : Granularity::tile;
  settings.scheme.full_head = get<std::string>(config, "engine.head") == "full";
  settings.scheme.resident_embedding = get<std::string>(config, "engine.embedding") == "resident";
  settings.scheme.noise_buffer = get<std::string>(config, "engine.noise_buffer") == "materialised";
  settings.slots = get<int>(config, "engine.slots");
  settings.overlap = get<bool>(config, "engine.overlap");
  settings.graphs = get<bool>(config, "engine.graphs");
  settings.writeback_every = get<int64_t>(config, "method.writeback_every");
  if (config_at(config, "engine.gpu_memory") == "all") settings.budget.bytes = ArenaBudget::kAll;
  return settings;
}

int64_t gpu_memory_from_config(const Json& config) {
  const Json& memory = config_at(config, "engine.gpu_memory");
  return memory.is_string() ? 0 : memory.get<int64_t>();
}

TrainData data_from_config(const Json& config, const ModelConfig& model) {
  const auto kind = get<std::string>(config, "data.kind");
  if (kind == "task") return task_data(config, model);
  const auto batch = get<int64_t>(config, "data.batch");
  const auto seed = get<uint64_t>(config, "data.seed");
  TrainData data;
  if (kind == "random_tokens") {
    data.training = random_tokens(model.vocab_size, batch, get<int64_t>(config, "data.seq"), seed);
    return data;
  }
  const Json& path = config_at(config, "data.path");
  ZO2_CHECK(path.is_string(), UsageError, "data.kind tokens needs data.path, a file of JSON lines");
  data.training = shuffled_sequences(read_sequences(path.get<std::string>()), batch,
                                     get<int>(config, "method.micro_batches"), seed);
  data.identity["data.sha256"] = sha256_hex_of_file(path.get<std::string>());
  return data;
}

ExecutorSettings executor_settings_from_config(const Json& config) {
  ExecutorSettings settings;
  settings.eps = static_cast<float>(get<double>(config, "method.eps"));
  settings.weight_decay = get<double>(config, "method.weight_decay");
  settings.noise = parse_distribution(get<std::string>(config, "method.noise"));
  settings.rounding =
      get<std::string>(config, "method.rounding") == "stochastic" ? Rounding::stochastic : Rounding::nearest;
  settings.threads = get<int>(config, "engine.threads");
  const auto host = get<std::string>(config, "engine.host");
  settings.host = host == "staged"     ? HostMemory::staged
                  : host == "pageable" ? HostMemory::pageable
                                       : HostMemory::registered;
  return settings;
}

Json config_of_log(const StepLogHeader& header, const std::filesystem::path& log) {
  Json config = default_config();
  try {
    const Json logged = Json::parse(header.config);
    for (const KeySpec& spec : config_schema()) {
      const auto found = logged.find(spec.key);
      if (found != logged.end()) config_set(config, spec.key, *found);
    }
    // A log of a program of its own may say nothing here: its header's fields are what counts.
    config_set(config, "engine.dtype", dtype_name(header.dtype));
    config_set(config, "method.perturbations", header.pairs);
    config_set(config, "method.writeback_every", header.writeback_every);
    config_set(config, "method.rounding", header.rounding);
    config_set(config, "method.noise", header.noise);
  } catch (const Json::exception& error) {
    throw UsageError(fmt::format("{}: its configuration is not one of `zo2 train`: {}", log.string(), error.what()));
  }
  return config;
}

TrainJob job_from_config(const Json& config) {
  auto source = std::make_shared<ModelSource>(model_from_config(config));
  const auto seed = get<uint64_t>(config, "method.noise_seed");
  TrainJob job;
  job.config = source->config;
  job.fill = [source, seed](HostWeights& weights) { source->fill(weights, seed); };
  job.method = parse_method(get<std::string>(config, "method.name"));
  job.device = parse_device(get<std::string>(config, "engine.device"));
  job.plan = plan_settings_from_config(config);
  job.gpu_memory_bytes = gpu_memory_from_config(config);
  job.executor = executor_settings_from_config(config);
  if (get<std::string>(config, "engine.host_weights") == "aliased") job.host_weights = HostWeightsKind::aliased;
  const auto traced = get<int64_t>(config, "engine.trace");
  const auto warmup = std::min(get<int64_t>(config, "train.warmup"), get<int64_t>(config, "train.steps"));
  job.executor.trace = {std::max<int64_t>(0, warmup - traced), traced};
  job.trainer.steps = get<int64_t>(config, "train.steps");
  job.trainer.learning_rate = {get<double>(config, "method.lr"), get<std::string>(config, "train.schedule") == "linear",
                               job.trainer.steps};
  job.trainer.micro_batches = get<int>(config, "method.micro_batches");
  job.trainer.noise_seed = seed;
  TrainData data = data_from_config(config, job.config);
  job.data = std::move(data.training);
  job.evaluation = std::move(data.evaluation);
  job.test = std::move(data.test);
  job.select_best = get<std::string>(config, "train.select") == "dev_loss";
  job.eval_every = get<int64_t>(config, "train.eval_every");
  job.snapshot_every = get<int64_t>(config, "train.snapshot_every");
  job.log_config = resume_identity(config, std::move(data.identity));
  return job;
}

}  // namespace zo2

#include "cli/recorded_run.h"

#include <filesystem>
#include <span>

#include "base/convert.h"
#include "base/error.h"
#include "cli/job_config.h"
#include "cli/live_line.h"
#include "cli/record_log.h"
#include "experiment/config_schema.h"
#include "optimizer/run_folder.h"
#include "store/snapshot.h"

namespace zo2 {
namespace {

namespace fs = std::filesystem;

StepLog open_log(const fs::path& folder) {
  if (is_record(folder)) return log_of_record(folder);
  const fs::path path = folder / kStepLogFile;
  ZO2_CHECK(fs::exists(path), UsageError,
            "{} has no {}: not a folder that `zo2 train --out` wrote, nor a record of a cell", folder.string(),
            kStepLogFile);
  StepLog log = read_step_log(path);
  ZO2_CHECK(log.header.noise_version == kNoiseVersion, UsageError,
            "{}: its noise is of version {}, this program's of version {}: replay it with the program that wrote it",
            path.string(), log.header.noise_version, kNoiseVersion);
  ZO2_CHECK(log.entries.empty() || log.entries.front().step == 0, UsageError,
            "{}: begins at step {}, so the weights before it are unknown", path.string(), log.entries.front().step);
  return log;
}

// Where the base is: as told, else as the run was told.
void find_base(Json& config, const RecordedRunOptions& options) {
  if (!options.model.empty()) {
    set_model(config, options.model);
    return;
  }
  const fs::path path = fs::path(options.run) / kRunConfigFile;
  ZO2_CHECK(fs::exists(path), UsageError, "{} has no {}: name the base checkpoint with --model", options.run,
            kRunConfigFile);
  const Json recorded = read_json(path);
  try {
    const Json& model = recorded.at("config").at("model");
    config_set(config, "model.path", model.at("path"));
    config_set(config, "model.name", model.at("name"));
  } catch (const Json::exception& error) {
    throw UsageError(fmt::format("{}: {}", path.string(), error.what()));
  }
  const Json& model = config_at(config, "model.path");
  ZO2_CHECK(model.is_null() || fs::is_directory(model.get<std::string>()), UsageError,
            "{}: the base checkpoint {} is not there: name it with --model", path.string(), model.dump());
}

// A batch of the smallest shape: the plan is wanted for its table and its commits only.
Plan plan_of(const Json& config, const ModelConfig& model) {
  PlanSettings settings = plan_settings_from_config(config);
  settings.batch = 1;
  settings.seq = 2;
  return make_plan(model, settings);
}

}  // namespace

void RecordedRunOptions::add_to(CLI::App& command) {
  command
      .add_option("run", run,
                  "Folder of `zo2 train --out`, where step.log is enough, with --model; or of a cell's record")
      ->required();
  command.add_option("--model", model,
                     "The base: a Hugging Face folder, or a name (random weights); default: as the run was given it");
  command.add_option("--device", device, "auto, cpu or cuda: the result is the same")->capture_default_str();
  CLI::Option* at = command.add_option("--step", step, "Weights after this many steps; default: all of the log");
  command.add_flag("--best", best, "Weights of the evaluation with the lowest loss (--select dev_loss)")->excludes(at);
}

RecordedRun::RecordedRun(const RecordedRunOptions& options)
    : folder_(options.run),
      log_(open_log(options.run)),
      config_(config_of_log(log_.header, options.run)),
      device_(parse_device(options.device)) {
  step_ = chosen_step(options);
  find_base(config_, options);
  source_ = model_from_config(config_);
  plan_ = plan_of(config_, source_.config);
  settings_ = executor_settings_from_config(config_);
  settings_.rounded_noise = plan_.settings.scheme.noise_buffer;
  const std::string& table = log_.header.parameter_table_hash;
  ZO2_CHECK(table.empty() || parameter_table_hash(plan_.table) == table, UsageError,
            "{} was trained on a model with other parameters than {}: name its base with --model", folder_,
            source_.config.name);
}

int64_t RecordedRun::chosen_step(const RecordedRunOptions& options) const {
  if (options.step) {
    ZO2_CHECK(*options.step >= 0 && *options.step <= log_.next_step(), UsageError,
              "--step {}: the log of {} has {} steps", *options.step, folder_, log_.next_step());
    return *options.step;
  }
  if (!options.best) return log_.next_step();
  const std::optional<BestEvaluation> best = read_best(folder_);
  ZO2_CHECK(best.has_value(), UsageError, "{} has no best evaluation: it was not trained with --select dev_loss",
            folder_);
  ZO2_CHECK(best->step <= log_.next_step(), UsageError,
            "the best evaluation of {} is of step {}, but its log has {} steps", folder_, best->step, log_.next_step());
  return best->step;
}

HostWeights RecordedRun::weights(bool shortcut) const {
  if (const auto snapshot = shortcut ? newest_snapshot(folder_, step_) : std::nullopt) {
    HostWeights weights(plan_.table, plan_.settings.dtype);
    load_snapshot(*snapshot, weights);
    replay(weights, settings_, snapshot->next_step);
    return weights;
  }
  HostWeights weights = base();
  replay(weights, settings_, 0);
  return weights;
}

HostWeights RecordedRun::base() const {
  HostWeights weights(plan_.table, plan_.settings.dtype);
  source_.fill(weights, config_at(config_, "method.noise_seed").get<uint64_t>());
  const std::string hash = weights_hash(weights);
  ZO2_CHECK(hash == log_.header.base_hash, UsageError,
            "{} is not the base of {}: its weights have the hash {}, the log's base {}; name the base with --model",
            source_.checkpoint ? source_.checkpoint->path().string() : source_.config.name, folder_, hash,
            log_.header.base_hash);
  return weights;
}

HostWeights RecordedRun::unrounded(const HostWeights& base) const {
  HostWeights weights(plan_.table, DType::f32);
  for (int weight = 0; weight < weights.count(); ++weight) {
    auto* values = reinterpret_cast<float*>(weights.data(weight));
    to_float(base.dtype(), base.data(weight),
             std::span(values, static_cast<size_t>(plan_.table.weights[weight].count())));
  }
  ExecutorSettings settings = settings_;
  settings.rounding = Rounding::nearest;
  replay(weights, settings, 0);
  return weights;
}

void RecordedRun::replay(HostWeights& weights, const ExecutorSettings& settings, int64_t from) const {
  const std::string unit = fmt::format("elements through {} steps", step_ - from);
  LiveLine line;
  replay_weights(device_, weights, plan_.commits, settings, log_.entries, log_.header.pairs, from, step_,
                 [&](int64_t done, int64_t all) { line.show(done, all, unit); });
}

std::optional<std::string> RecordedRun::recorded_hash() const {
  const fs::path path = fs::path(folder_) / kRunResultFile;
  if (!fs::exists(path)) return std::nullopt;
  const Json result = read_json(path);
  try {
    if (is_record(folder_)) {
      const Json& hashes = result.at("hashes");
      if (step_ == log_.next_step()) return hashes.at("final_weights").get<std::string>();
      if (result.at("metrics").value("selected_step", int64_t{-1}) != step_) return std::nullopt;
      return hashes.at("selected_weights").get<std::string>();
    }
    if (result.at("steps") == step_) return result.at("final_weights").get<std::string>();
    if (result.value("selected_step", int64_t{-1}) == step_) return result.at("selected_weights").get<std::string>();
  } catch (const Json::exception& error) {
    throw UsageError(fmt::format("{}: {}", path.string(), error.what()));
  }
  return std::nullopt;
}

}  // namespace zo2

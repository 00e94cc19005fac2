// zo2 train: one run from flags. Every flag is a key of the configuration (experiment/config_schema.h), so a run from
// flags and a cell of a manifest are the same thing.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>

#include "base/bytes.h"
#include "base/error.h"
#include "cli/commands.h"
#include "cli/job_config.h"
#include "cli/live_line.h"
#include "cli/step_memory.h"
#include "cli/step_sample.h"
#include "experiment/config_schema.h"
#include "experiment/record.h"
#include "optimizer/run_folder.h"
#include "store/checkpoint_writer.h"

namespace zo2 {
namespace {

struct Flag {
  const char* flag;
  const char* key;
};

constexpr Flag kFlags[] = {{"--data", "data.path"},
                           {"--batch", "data.batch"},
                           {"--seq", "data.seq"},
                           {"--data-seed", "data.seed"},
                           {"--method", "method.name"},
                           {"--eps", "method.eps"},
                           {"--lr", "method.lr"},
                           {"--weight-decay", "method.weight_decay"},
                           {"--noise-seed", "method.noise_seed"},
                           {"--noise", "method.noise"},
                           {"--perturbations", "method.perturbations"},
                           {"--micro-batches", "method.micro_batches"},
                           {"--writeback-every", "method.writeback_every"},
                           {"--rounding", "method.rounding"},
                           {"--steps", "train.steps"},
                           {"--schedule", "train.schedule"},
                           {"--eval-every", "train.eval_every"},
                           {"--select", "train.select"},
                           {"--objective", "train.objective"},
                           {"--snapshot-every", "train.snapshot_every"},
                           {"--device", "engine.device"},
                           {"--dtype", "engine.dtype"},
                           {"--tile", "engine.tile"},
                           {"--slots", "engine.slots"},
                           {"--overlap", "engine.overlap"},
                           {"--graphs", "engine.graphs"},
                           {"--gpu-memory", "engine.gpu_memory"},
                           {"--threads", "engine.threads"},
                           {"--trace", "engine.trace"}};

struct TrainOptions {
  std::string model;
  std::string out;
  std::string save;
  std::string task;
  std::string eval_data;
  std::map<std::string, std::string> flags;  // by key, as written
  bool json = false;
};

Json config_from(const TrainOptions& options) {
  Json config = default_config();
  set_model(config, options.model);
  for (const auto& [key, text] : options.flags) {
    if (!text.empty()) config_set(config, key, parse_value(*find_key(key), text));
  }
  if (config_at(config, "data.path").is_string()) config_set(config, "data.kind", "tokens");
  if (!options.task.empty()) {
    ZO2_CHECK(config_at(config, "data.path").is_null(), UsageError, "give --task or --data, not both");
    config_set(config, "data.kind", "task");
    config_set(config, "data.path", options.task);
    // What the protocol trains this task on, unless something else is asked for.
    if (options.flags.at("train.objective").empty())
      config_set(config, "train.objective", open_task(options.task).manifest.at("objective"));
  }
  return config;
}

// What the live line says: step, loss, gradient, speed, time left.
std::string step_text(const StepSample& sample, int64_t steps, int64_t tokens, std::optional<int64_t> device_bytes) {
  return fmt::format("step {}/{}  loss {:.4f}  gradient {:+.4f}  {:.1f} ms  {:.0f} tok/s  {}{:.0f} s left",
                     sample.step + 1, steps, (sample.loss_plus[0] + sample.loss_minus[0]) / 2,
                     sample.projected_gradient[0], sample.step_ms, static_cast<double>(tokens) / sample.step_ms * 1e3,
                     device_bytes ? format_bytes(*device_bytes) + " of device memory  " : "",
                     static_cast<double>(steps - sample.step - 1) * sample.step_ms / 1e3);
}

std::string describe(const Evaluation& evaluation) {
  std::string text = fmt::format("loss {:.6f}", evaluation.loss);
  if (evaluation.accuracy) text += ", accuracy " + evaluation.accuracy->text();
  if (evaluation.answers) {
    text += fmt::format(", F1 {}, exact match {}", evaluation.answers->f1.text(), evaluation.answers->exact.text());
  }
  return text;
}

void train(const TrainOptions& options) {
  const Json config = config_from(options);
  TrainJob job = job_from_config(config);
  if (!options.eval_data.empty()) job.evaluation = evaluation_of(read_sequences(options.eval_data));
  StepMemory step_memory(job.device == Device::cuda);
  const bool recorded = !options.out.empty();
  const std::filesystem::path folder = options.out;
  ZO2_CHECK(!recorded || options.save.empty() ||
                std::filesystem::weakly_canonical(options.save) != std::filesystem::weakly_canonical(folder),
            UsageError, "--save {}: that is --out; weights need a folder of their own", options.save);
  if (!options.save.empty()) check_free_of_weights(options.save);
  const bool traced = job.executor.trace.count > 0;
  ZO2_CHECK(recorded || !traced, UsageError, "--trace writes trace.json into the folder of --out, which is not given");
  if (recorded) {
    make_folder(folder);
    if (job.method != MethodKind::mezo) job.folder = options.out;
  }
  std::optional<SampleWriter> samples;
  LiveLine line;
  TrainObserver observer;
  observer.on_start = [&](int64_t next_step) {
    if (next_step > 0) spdlog::info("resuming at step {}", next_step);
    // Not before: a run of another configuration keeps what it has.
    if (recorded) write_file_atomically(folder / kRunConfigFile, Json{{"config", config}}.dump(2) + "\n");
    if (recorded) samples.emplace(options.out, next_step);
  };
  observer.on_step = [&](const StepResult& result) {
    const StepSample sample = to_sample(result);
    step_memory.read();
    line.show(sample.step + 1 == job.trainer.steps,
              [&] { return step_text(sample, job.trainer.steps, result.tokens, step_memory.last_bytes()); });
    if (samples) samples->write(sample);
  };
  observer.on_evaluation = [&](int64_t step, const Evaluation& found) {
    spdlog::info("evaluation after step {}: {}", step, describe(found));
    if (samples) samples->write(to_sample(step, found));
  };
  const auto save = [&](const HostWeights& weights) {
    if (!options.save.empty()) save_model(options.save, weights, model_from_config(config));
  };
  TrainReport report;
  try {
    report = run_train_job(job, observer, save);
  } catch (const IoError& error) {
    if (!job.folder || !samples) throw;  // nothing has begun
    throw IoError(fmt::format("{}; {} keeps every step that its log has: when there is room, the same command goes on",
                              error.what(), options.out));
  }
  Json result{{"steps", job.trainer.steps},
              {"first_step", report.first_step},
              {"initial_weights", report.initial_weights},
              {"final_weights", report.final_weights},
              {"arena_bytes", report.memory.peak_bytes},
              {"arena_planned_bytes", report.memory.planned_bytes},
              {"config", config}};
  if (job.select_best) {
    result["selected_step"] = report.selected_step;
    result["selected_weights"] = report.selected_weights;
  }
  Json metrics = Json::object();
  add_test_metrics(report, metrics);
  if (!metrics.empty()) result["metrics"] = std::move(metrics);
  if (!report.trace.empty()) {
    write_trace(folder / kTraceFile, report.trace);
  } else if (traced) {
    spdlog::warn("no {}: {}", kTraceFile,
                 job.method == MethodKind::mezo
                     ? "method mezo runs no program that could be traced"
                     : fmt::format("steps {} to {} were run before this start", job.executor.trace.first,
                                   job.executor.trace.first + job.executor.trace.count - 1));
  }
  if (recorded) {
    write_file_atomically(folder / kRunResultFile, result.dump(2) + "\n");
  }
  if (options.json) {
    fmt::print("{}\n", result.dump(2));
  } else {
    fmt::print("{} steps; final weights {}\n", job.trainer.steps, report.final_weights);
    if (job.select_best)
      fmt::print("selected: those after step {}, {}\n", report.selected_step, report.selected_weights);
    if (report.test) fmt::print("split eval: {}\n", describe(*report.test));
  }
}

}  // namespace

void add_train(CLI::App& app, int& /*exit_code*/) {
  auto options = std::make_shared<TrainOptions>();
  CLI::App* command = app.add_subcommand("train", "Train one model from flags; with --out, resumable");
  command->add_option("--model", options->model, "A Hugging Face folder, or a name such as opt-125m (random weights)")
      ->required();
  command->add_option("--out", options->out,
                      "Folder for config.json, the step log, snapshots, samples.jsonl, trace.json and result.json");
  command->add_option("--save", options->save,
                      "Folder for the weights that the run ends with, as a Hugging Face checkpoint");
  command->add_option("--task", options->task,
                      "A folder that scripts/prepare_task.py wrote: trains on its split train, evaluates on dev, ends "
                      "with eval");
  command->add_option("--eval-data", options->eval_data, "JSON lines of sequences to evaluate");
  command->add_flag("--json", options->json, "Print the result as JSON");
  for (const Flag& flag : kFlags) {
    const KeySpec& spec = *find_key(flag.key);
    command->add_option(flag.flag, options->flags[flag.key], std::string(spec.meaning));
  }
  command->callback([options] { train(*options); });
}

}  // namespace zo2

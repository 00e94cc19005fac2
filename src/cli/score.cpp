// zo2 score: losses and log-probabilities of given token sequences.
#include <fstream>
#include <memory>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/commands.h"
#include "cli/model_source.h"
#include "runtime/device.h"
#include "task/sequences.h"

namespace zo2 {
namespace {

struct ScoreOptions {
  std::string model;
  std::string input;
  std::string output;
  std::string dtype = "fp32";
  std::string device = "auto";
  bool offload = false;
  int threads = 0;
  uint64_t seed = 42;
};

void score(const ScoreOptions& options) {
  const Device device = parse_device(options.device);
  const ModelSource source = open_model(options.model);
  const std::vector<Sequence> sequences = read_sequences(options.input);
  ZO2_CHECK(!sequences.empty(), UsageError, "{} has no sequences", options.input);

  PlanSettings settings;
  settings.dtype = parse_dtype(options.dtype);
  settings.pairs = 0;
  settings.seq = 0;
  for (const Sequence& sequence : sequences) {
    settings.seq = std::max(settings.seq, static_cast<int64_t>(sequence.input_ids.size()));
  }
  settings.budget.bytes = options.offload ? ArenaBudget::kSmallest : ArenaBudget::kAll;
  const Plan plan = make_plan(source.config, settings, measured_attention(device, settings.dtype, options.threads));
  HostWeights weights(plan.table, settings.dtype);
  source.fill(weights, options.seed);
  ExecutorSettings executor_settings;
  executor_settings.threads = options.threads;
  const auto executor = make_executor(device, plan, weights, executor_settings);
  executor->start(0, {});

  std::string text;
  for (const Sequence& sequence : sequences) {
    const EvaluationResult result = executor->evaluate(make_batch({sequence}));
    const auto tokens = static_cast<double>(result.logprobs.size());
    Json line{{"loss", json_number(result.loss_sum / tokens)}, {"tokens", result.logprobs.size()}};
    Json& logprobs = line["logprobs"] = Json::array();
    for (float value : result.logprobs) logprobs.push_back(json_number(value));
    text += line.dump() + "\n";
  }
  write_file_atomically(options.output, text);
}

}  // namespace

void add_score(CLI::App& app, int& /*exit_code*/) {
  auto options = std::make_shared<ScoreOptions>();
  CLI::App* command = app.add_subcommand("score", "Losses and log-probabilities of given token sequences");
  command->add_option("--model", options->model, "A Hugging Face folder, or a name such as opt-125m (random weights)")
      ->required();
  command
      ->add_option("--input", options->input, R"(JSON lines: {"input_ids": [...], "labels": [...]}, labels optional)")
      ->required();
  command->add_option("--output", options->output, R"(JSON lines: {"loss", "tokens", "logprobs"})")->required();
  command->add_option("--dtype", options->dtype, "fp32, fp16 or bf16")->capture_default_str();
  command->add_option("--device", options->device, "auto, cpu or cuda")->capture_default_str();
  command->add_flag("--offload", options->offload, "Stream the weights through the smallest arena");
  command->add_option("--threads", options->threads, "Compute threads; 0: one per core")->capture_default_str();
  command->add_option("--seed", options->seed, "Seed of random weights")->capture_default_str();
  command->callback([options] { score(*options); });
}

}  // namespace zo2

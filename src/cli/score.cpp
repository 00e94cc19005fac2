// zo2 score: losses and log-probabilities of given token sequences.
#include <algorithm>
#include <memory>

#include "base/error.h"
#include "base/json.h"
#include "cli/commands.h"
#include "cli/evaluator.h"
#include "task/sequences.h"

namespace zo2 {
namespace {

struct ScoreOptions {
  EvaluatorOptions evaluator;
  std::string input;
  std::string output;
};

void score(const ScoreOptions& options) {
  const ModelSource source = open_model(options.evaluator.model);
  const std::vector<Sequence> sequences = read_sequences(options.input);
  ZO2_CHECK(!sequences.empty(), UsageError, "{} has no sequences", options.input);
  int64_t longest = 0;
  for (const Sequence& sequence : sequences) {
    longest = std::max(longest, static_cast<int64_t>(sequence.input_ids.size()));
  }
  Evaluator evaluator(options.evaluator, source, {.batch = 1, .seq = longest});

  std::string text;
  for (const Sequence& sequence : sequences) {
    const EvaluationResult result = evaluator.executor().evaluate(make_batch({sequence}));
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
  options->evaluator.add_to(*command);
  command
      ->add_option("--input", options->input, R"(JSON lines: {"input_ids": [...], "labels": [...]}, labels optional)")
      ->required();
  command->add_option("--output", options->output, R"(JSON lines: {"loss", "tokens", "logprobs"})")->required();
  command->callback([options] { score(*options); });
}

}  // namespace zo2

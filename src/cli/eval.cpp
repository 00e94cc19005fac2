// zo2 eval: accuracy over candidates, and losses, of a prepared task.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>

#include "base/error.h"
#include "base/json.h"
#include "base/sha256.h"
#include "cli/commands.h"
#include "cli/evaluator.h"
#include "cli/live_line.h"
#include "task/evaluation.h"

namespace zo2 {
namespace {

using Clock = std::chrono::steady_clock;

struct EvalOptions {
  EvaluatorOptions evaluator;
  std::string task;
  std::string split = "eval";
  std::string predictions;
  int64_t batch = 16;
  bool json = false;
};

// A JSON line an example.
std::string predictions_of(const TokenFile& file, std::span<const SequenceScore> scores) {
  std::string text;
  for (int64_t example = 0; example < file.examples(); ++example) {
    const int64_t first = file.first_sequence(example);
    const auto own =
        scores.subspan(static_cast<size_t>(first), static_cast<size_t>(file.first_sequence(example + 1) - first));
    const auto right = file.right(example);
    Json sums = Json::array(), means = Json::array();
    for (const SequenceScore& score : own) {
      sums.push_back(json_number(score.sum));
      means.push_back(json_number(score.mean()));
    }
    const Json line{{"sums", std::move(sums)},
                    {"means", std::move(means)},
                    {"predicted", predicted_candidate(own)},
                    {"right", std::vector<uint32_t>(right.begin(), right.end())}};
    text += line.dump() + "\n";
  }
  return text;
}

// Ids of another tokenizer are in range, and mean nothing.
void warn_of_other_tokenizer(const Task& task, const std::filesystem::path& model) {
  const std::filesystem::path tokenizer = model / "tokenizer.json";
  if (!std::filesystem::is_regular_file(tokenizer)) return;
  const Json& used = task.manifest["tokenizer"]["sha256"];
  if (used == sha256_hex_of_file(tokenizer)) return;
  spdlog::warn("task {} was prepared with another tokenizer than {}: its scores may mean nothing", task.name,
               tokenizer.string());
}

void eval(const EvalOptions& options) {
  const Task task = open_task(options.task);
  const TokenFile& file = task.split(options.split).file;
  ZO2_CHECK(options.predictions.empty() || task.kind == TaskKind::candidates, UsageError,
            "--predictions: task {} has no candidates", task.name);
  ZO2_CHECK(options.batch >= 1, UsageError, "--batch {}: at least 1", options.batch);
  const ModelSource source = open_model(options.evaluator.model);
  check_fits(task, file, source.config);
  warn_of_other_tokenizer(task, options.evaluator.model);
  Evaluator evaluator(options.evaluator, source, {std::min(options.batch, file.sequences()), file.longest(), {}});

  const auto start = Clock::now();
  LiveLine line;
  const auto scores = score_file(
      file, options.batch, [&](const Batch& batch) { return evaluator.executor().evaluate(batch); },
      [&](int64_t done) { line.show(done, file.sequences(), "sequences"); });
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  const SplitEvaluation found = summarise(task.kind, file, scores);

  Json result{{"task", task.name},
              {"split", options.split},
              {"model", source.config.name},
              {"dtype", options.evaluator.dtype},
              {"device", device_name(evaluator.device())},
              {"offload", options.evaluator.offload},
              {"n", file.examples()},
              {"lm_loss", json_number(-found.right.mean())},
              {"arena_bytes", evaluator.arena_bytes()},
              {"seconds", seconds},
              {"truncated", task.manifest["splits"][options.split]["truncated"]}};
  for (const char* key : {"first_token", "data_seed", "demonstrations", "template", "tokenizer"}) {
    result[key] = task.manifest[key];
  }
  if (found.accuracy) {
    result["accuracy"] = found.accuracy->value();
    result["right"] = found.accuracy->right;
    result["standard_error"] = found.accuracy->standard_error();
    result["candidate_loss"] = json_number(*found.candidate_loss);
  }
  if (!options.predictions.empty()) write_file_atomically(options.predictions, predictions_of(file, scores));
  if (options.json) {
    fmt::print("{}\n", result.dump(2));
    return;
  }
  if (found.accuracy) {
    fmt::print("{} {}: accuracy {}, loss over candidates {:.4f}\n", task.name, options.split, found.accuracy->text(),
               *found.candidate_loss);
  }
  fmt::print("{} {}: loss {:.4f} a token of the {}, {} examples, {:.1f} s\n", task.name, options.split,
             -found.right.mean(),
             task.kind == TaskKind::candidates   ? "right candidates"
             : task.kind == TaskKind::generation ? "first answers"
                                                 : "texts",
             file.examples(), seconds);
}

}  // namespace

void add_eval(CLI::App& app, int& /*exit_code*/) {
  auto options = std::make_shared<EvalOptions>();
  CLI::App* command = app.add_subcommand("eval", "Accuracy over candidates, and losses, of a prepared task");
  options->evaluator.add_to(*command);
  command->add_option("--task", options->task, "A folder that scripts/prepare_task.py wrote")->required();
  command->add_option("--split", options->split, "eval, dev or train")->capture_default_str();
  command->add_option("--batch", options->batch, "Sequences a pass over the weights")->capture_default_str();
  command->add_option("--predictions", options->predictions,
                      R"(JSON lines, one an example: {"sums", "means", "predicted", "right"})");
  command->add_flag("--json", options->json, "Print the result as JSON");
  command->callback([options] { eval(*options); });
}

}  // namespace zo2

// zo2 eval: accuracy over candidates, scores of generated answers, and losses, of a prepared task.
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
std::string predictions_of(const TaskSplit& split, std::span<const Answer> answers) {
  std::string text;
  for (size_t example = 0; example < answers.size(); ++example) {
    const Answer& answer = answers[example];
    text += Json{{"text", answer.text},
                 {"output_ids", answer.ids},
                 {"f1", answer.f1},
                 {"exact_match", answer.exact},
                 {"answers", split.answers[example]}}
                .dump() +
            "\n";
  }
  return text;
}

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
  const TaskSplit& split = task.split(options.split);
  const TokenFile& file = split.file;
  ZO2_CHECK(options.predictions.empty() || task.kind != TaskKind::text, UsageError,
            "--predictions: task {} has neither candidates nor answers", task.name);
  ZO2_CHECK(options.batch >= 1, UsageError, "--batch {}: at least 1", options.batch);
  const ModelSource source = open_model(options.evaluator.model);
  check_fits(task, file, source.config);
  warn_of_other_tokenizer(task, options.evaluator.model);
  const bool answering = task.kind == TaskKind::generation;
  const int64_t sequences = std::min(options.batch, file.sequences());
  Evaluator::Shape shape{.batch = sequences, .seq = file.longest(), .labels = sequences * file.most_labels()};
  if (answering) {
    shape.generation =
        generation_shape(std::min(options.batch, file.examples()), longest_of(prompts_of(file)), task.generation);
  }
  Evaluator evaluator(options.evaluator, source, shape);

  const auto start = Clock::now();
  LiveLine line;
  const auto scores = score_file(
      file, options.batch, [&](const Batch& batch) { return evaluator.executor().evaluate(batch); },
      [&](int64_t done) { line.show(done, answering ? file.examples() : file.sequences(), "sequences"); });
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  const SplitEvaluation found = summarise(task.kind, file, scores);
  const auto generation_start = Clock::now();
  LiveLine answer_line;
  std::vector<Answer> answers;
  if (answering) {
    answers = generate_answers(evaluator.executor(), task, split,
                               [&](int64_t done) { answer_line.show(done, file.examples(), "answers"); });
  }
  const double generation_seconds = std::chrono::duration<double>(Clock::now() - generation_start).count();
  const AnswerScores answered = summarise(answers);

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
  if (answering) {
    result["f1"] = answered.f1.value();
    result["standard_error"] = json_number(answered.f1.standard_error());
    result["exact_match"] = answered.exact.value();
    result["exact_match_standard_error"] = answered.exact.standard_error();
    result["generation_seconds"] = generation_seconds;
  }
  if (!options.predictions.empty()) {
    write_file_atomically(options.predictions,
                          answering ? predictions_of(split, answers) : predictions_of(file, scores));
  }
  if (options.json) {
    fmt::print("{}\n", result.dump(2));
    return;
  }
  if (found.accuracy) {
    fmt::print("{} {}: accuracy {}, loss over candidates {:.4f}\n", task.name, options.split, found.accuracy->text(),
               *found.candidate_loss);
  }
  if (answering) {
    fmt::print("{} {}: F1 {}, exact match {}, {:.1f} s\n", task.name, options.split, answered.f1.text(),
               answered.exact.text(), generation_seconds);
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
  CLI::App* command = app.add_subcommand("eval", "Accuracy, F1 of generated answers, and losses, of a prepared task");
  options->evaluator.add_to(*command);
  command->add_option("--task", options->task, "A folder that scripts/prepare_task.py wrote")->required();
  command->add_option("--split", options->split, "eval, dev or train")->capture_default_str();
  command->add_option("--batch", options->batch, "Sequences a pass over the weights")->capture_default_str();
  command->add_option("--predictions", options->predictions,
                      R"(JSON lines, one an example: {"sums", "means", "predicted", "right"}, or )"
                      R"({"text", "output_ids", "f1", "exact_match", "answers"})");
  command->add_flag("--json", options->json, "Print the result as JSON");
  command->callback([options] { eval(*options); });
}

}  // namespace zo2

// zo2 generate: greedy continuations of given token sequences.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>

#include "base/error.h"
#include "base/json.h"
#include "cli/commands.h"
#include "cli/evaluator.h"
#include "cli/live_line.h"
#include "task/generation.h"
#include "task/sequences.h"

namespace zo2 {
namespace {

using Clock = std::chrono::steady_clock;

struct GenerateOptions {
  EvaluatorOptions evaluator;
  std::string input;
  std::string output;
  GenerationRule rule{50, {}};
  int64_t batch = 16;
  bool no_cache = false;
  bool json = false;
};

void generate_lines(const GenerateOptions& options) {
  ZO2_CHECK(options.batch >= 1, UsageError, "--batch {}: at least 1", options.batch);
  const ModelSource source = open_model(options.evaluator.model);
  ZO2_CHECK(options.rule.new_tokens >= 1 && options.rule.new_tokens <= source.config.max_positions, UsageError,
            "--max-new {}: between 1 and the model's {} positions", options.rule.new_tokens,
            source.config.max_positions);
  const std::vector<std::vector<int32_t>> prompts = read_prompts(options.input);
  ZO2_CHECK(!prompts.empty(), UsageError, "{} has no prompts", options.input);
  const std::vector<std::span<const int32_t>> views(prompts.begin(), prompts.end());
  const auto count = static_cast<int64_t>(prompts.size());
  const bool cached = !options.no_cache;
  Evaluator evaluator(
      options.evaluator, source,
      {.generation = generation_shape(std::min(options.batch, count), longest_of(views), options.rule, cached)});

  const auto start = Clock::now();
  LiveLine line;
  const Generated generated = generate(evaluator.executor(), views, options.rule, cached,
                                       [&](int64_t done) { line.show(done, count, "prompts"); });
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  std::string text;
  size_t tokens = 0;
  for (const auto& ids : generated.ids) {
    text += Json{{"output_ids", ids}}.dump() + "\n";
    tokens += ids.size();
  }
  write_file_atomically(options.output, text);
  if (options.json) {
    fmt::print("{}\n", Json{{"prompts", count},
                            {"tokens", tokens},
                            {"passes", generated.passes},
                            {"seconds", seconds},
                            {"arena_bytes", evaluator.arena_bytes()},
                            {"device", device_name(evaluator.device())}}
                           .dump(2));
  } else {
    fmt::print("{} prompts, {} new tokens, {} passes over the weights, {:.1f} s, {:.0f} tok/s\n", count, tokens,
               generated.passes, seconds, static_cast<double>(tokens) / seconds);
  }
}

}  // namespace

void add_generate(CLI::App& app, int& /*exit_code*/) {
  auto options = std::make_shared<GenerateOptions>();
  CLI::App* command = app.add_subcommand("generate", "Greedy continuations of given token sequences");
  options->evaluator.add_to(*command);
  command->add_option("--input", options->input, R"(JSON lines: {"input_ids": [...]})")->required();
  command->add_option("--output", options->output, R"(JSON lines: {"output_ids": [...]}, the new ones)")->required();
  command->add_option("--max-new", options->rule.new_tokens, "New tokens a sequence, at most")->capture_default_str();
  command->add_option("--stop", options->rule.ends, "Ids that end a sequence, themselves part of it");
  command->add_option("--batch", options->batch, "Sequences a pass over the weights")->capture_default_str();
  command->add_flag("--no-cache", options->no_cache, "Compute everything again for every token");
  command->add_flag("--json", options->json, "Print what it took as JSON");
  command->callback([options] { generate_lines(*options); });
}

}  // namespace zo2

// zo2 run: every cell of a manifest, each repeat in a process of its own.
#include "experiment/runner.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "cli/commands.h"

namespace zo2 {
namespace {

struct RunArguments {
  std::string manifest;
  std::string out;
  ManifestOptions options;
  bool json = false;
};

Json summary_json(const RunSummary& summary, const std::string& out) {
  Json repeats = Json::array();
  for (const RepeatOutcome& outcome : summary.repeats) {
    repeats.push_back({{"folder", outcome.folder.lexically_relative(out).string()},
                       {"state", state_name(outcome.state)},
                       {"reused", outcome.reused}});
  }
  return {{"schema", 1}, {"out", out}, {"interrupted", summary.interrupted}, {"repeats", std::move(repeats)}};
}

std::string summary_text(const RunSummary& summary, const std::string& out) {
  std::vector<std::string> counts;
  for (State state : {State::ok, State::projected, State::skipped, State::oom, State::timeout, State::crashed,
                      State::diverged, State::throttled, State::interrupted}) {
    if (const int count = summary.count(state)) counts.push_back(fmt::format("{} {}", count, state_name(state)));
  }
  return fmt::format("{} repeats: {}\nnext: zo2 report {}\n", summary.repeats.size(), fmt::join(counts, ", "), out);
}

int run(const RunArguments& arguments) {
  const Experiment experiment = load_experiment(arguments.manifest, arguments.options);
  const RunSummary summary = run_experiment(experiment, {.out = arguments.out, .child = {}});
  const std::string text =
      arguments.json ? summary_json(summary, arguments.out).dump(2) + "\n" : summary_text(summary, arguments.out);
  fmt::print("{}", text);
  return summary.exit_code();
}

}  // namespace

void add_run(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<RunArguments>();
  CLI::App* command = app.add_subcommand("run", "Run the cells of a manifest and record each");
  command->add_option("manifest", arguments->manifest, "YAML file, e.g. experiments/quick.yaml")->required();
  command->add_option("--out", arguments->out, "folder for the records; finished repeats in it are reused")->required();
  command->add_option("--variant", arguments->options.variant, "a variant that the manifest names, e.g. small");
  command->add_option("-S,--set", arguments->options.overrides, "key=value, over everything; may be given often")
      ->allow_extra_args(false);
  command->add_flag("--json", arguments->json, "print the summary as JSON");
  command->footer("Exit code: 0 fine, 2 bad manifest, 3 some cells failed, 130 interrupted.");
  command->callback([arguments, &exit_code] { exit_code = run(*arguments); });
}

}  // namespace zo2

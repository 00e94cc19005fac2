// zo2 run: every cell of a manifest, each repeat in a process of its own.
#include "experiment/runner.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "cli/commands.h"
#include "cli/manifest_options.h"
#include "cli/selection_options.h"

namespace zo2 {
namespace {

struct RunArguments {
  std::string manifest;
  std::string out;
  ManifestOptions options;
  std::string shard = "1/1";
  RunOptions run;
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
  RunOptions options = arguments.run;
  options.out = arguments.out;
  options.selection.shard = parse_shard(arguments.shard);
  const RunSummary summary = run_experiment(experiment, options);
  const std::string text =
      arguments.json ? summary_json(summary, arguments.out).dump(2) + "\n" : summary_text(summary, arguments.out);
  fmt::print("{}", text);
  return summary.exit_code();
}

}  // namespace

void add_run(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<RunArguments>();
  CLI::App* command = app.add_subcommand("run", "Run the cells of a manifest and record each");
  add_manifest_options(*command, arguments->manifest, arguments->options);
  command
      ->add_option("--out", arguments->out,
                   "folder for the records; what is in it already is reused, and interrupted repeats run again")
      ->required();
  add_selection_options(*command, arguments->run.selection);
  command->add_option("--shard", arguments->shard,
                      "i/n: the i-th of n parts of the repeats; several shards may share one --out at the same time");
  command->add_option("--repeats", arguments->options.repeats, "repeats of each cell, over the manifest's")
      ->check(CLI::Range(1, 10000));
  command
      ->add_option("--timeout", arguments->options.timeout_s,
                   "seconds that a repeat may take, over the manifest's; 0: any")
      ->check(CLI::Range(0.0, 1e7));
  command
      ->add_option("--gpu-wait", arguments->run.gpu_wait_s,
                   "most seconds that a GPU gets before each repeat to become free and cool; default 60")
      ->check(CLI::Range(0.0, 1e5));
  command->add_flag("--rerun", arguments->run.rerun,
                    "run what is finished again; an old record stays until it is replaced");
  command->add_flag(
      "--retry-failed", arguments->run.retry_failed,
      "run again what ended as oom, timeout, crashed, diverged or throttled; otherwise that is its result");
  command->add_flag("--accept-build", arguments->run.accept_build, "reuse what another build of zo2 has measured");
  command->add_flag("--json", arguments->json, "print the summary as JSON");
  command->footer("Exit code: 0 fine, 2 bad manifest, 3 some cells failed, 130 interrupted.");
  command->callback([arguments, &exit_code] { exit_code = run(*arguments); });
}

}  // namespace zo2

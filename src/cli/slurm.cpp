// zo2 slurm MANIFEST: a sweep as a Slurm job array.
#include "experiment/slurm.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/manifest_options.h"
#include "cli/selection_options.h"
#include "experiment/process.h"

namespace zo2 {
namespace {

constexpr int kDefaultShards = 8;

struct SlurmArguments {
  std::string manifest;
  std::string out;
  ManifestOptions options;
  Selection selection;
  int shards = 0;
  std::string time;
  std::string gres;
  std::vector<std::string> directives;
};

std::vector<std::string> run_arguments(const SlurmArguments& arguments) {
  std::vector<std::string> words{std::filesystem::absolute(arguments.manifest).lexically_normal().string()};
  const auto add = [&](const char* option, const std::string& value) { words.insert(words.end(), {option, value}); };
  if (!arguments.options.variant.empty()) add("--variant", arguments.options.variant);
  for (const std::string& text : arguments.options.overrides) add("-S", text);
  for (const std::string& text : arguments.selection.only) add("--only", text);
  for (const std::string& text : arguments.selection.exclude) add("--exclude", text);
  if (arguments.options.repeats) add("--repeats", std::to_string(*arguments.options.repeats));
  return words;
}

void slurm(const SlurmArguments& arguments) {
  // All that a task would refuse is refused here, before anything waits in a queue.
  const Experiment experiment = load_experiment(arguments.manifest, arguments.options);
  const auto count = static_cast<int>(select_repeats(experiment, arguments.selection).size());
  SlurmJob job{.name = experiment.manifest.name,
               .program = self_executable().string(),
               .folder = std::filesystem::current_path().string(),
               .out = std::filesystem::absolute(arguments.out).lexically_normal().string(),
               .arguments = run_arguments(arguments),
               .shards = std::min(count, arguments.shards > 0 ? arguments.shards : kDefaultShards),
               .time = arguments.time,
               .gres = arguments.gres,
               .directives = arguments.directives};
  fmt::print("{}", slurm_script(job));
  fmt::print(stderr, "{} repeats in {} shards; submit the script with bash\n", count, job.shards);
}

}  // namespace

void add_slurm(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<SlurmArguments>();
  CLI::App* command =
      app.add_subcommand("slurm", "Print a Slurm script that runs a manifest as a job array, and reports");
  add_manifest_options(*command, arguments->manifest, arguments->options);
  command->add_option("--out", arguments->out, "folder for the records, which all tasks reach")->required();
  add_selection_options(*command, arguments->selection);
  command->add_option("--repeats", arguments->options.repeats, "repeats of each cell, over the manifest's")
      ->check(CLI::Range(1, 10000));
  command->add_option("--shards", arguments->shards, "tasks of the array; default 8, and never more than repeats")
      ->check(CLI::Range(1, 10000));
  command->add_option("--time", arguments->time, "time limit of a task, as sbatch takes it: 2:00:00");
  command->add_option("--gres", arguments->gres, "what a task needs, as sbatch takes it: gpu:1");
  command
      ->add_option("--sbatch", arguments->directives,
                   "a further option of sbatch: --sbatch=--partition=gpu; may be given often")
      ->allow_extra_args(false);
  command->footer(
      "Example: zo2 slurm experiments/throughput.yaml --out DIR --gres gpu:1 --time 1:00:00 > sweep.sh; bash sweep.sh");
  command->callback([arguments, &exit_code] {
    slurm(*arguments);
    exit_code = 0;
  });
}

}  // namespace zo2

// zo2 profile: one cell under Nsight Systems, Nsight Compute or our own trace, with a range of its steps captured.
//
// The cell runs in a folder of its own, up to the last captured step. Nsight finds the steps by the NVTX range
// "capture" (TrainJob::capture); what Nsight Systems collects goes on to the program's end, so that copies which are
// still under way when the range closes are there.
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <sstream>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/step_window.h"
#include "experiment/cell_name.h"
#include "experiment/config_schema.h"
#include "experiment/manifest.h"
#include "experiment/process.h"
#include "experiment/record.h"
#include "experiment/repeat_result.h"
#include "experiment/shell_quote.h"

namespace zo2 {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kDefaultSteps = 2;
constexpr const char* kNsys = "nsys";
constexpr const char* kNcu = "ncu";
constexpr const char* kTrace = "trace";

struct ProfileArguments {
  std::string source;  // a manifest, or the folder of its records
  std::string cell;
  std::string tool;  // empty: nsys where it is installed, else trace
  std::string steps;
  std::string out;
  std::vector<std::string> tool_arguments;
  ManifestOptions options;
  bool json = false;
};

// What a cell is asked to do, and how it is called.
struct NamedCell {
  CellRequest request;
  CellName name;
};

std::vector<NamedCell> cells_of_manifest(const ProfileArguments& arguments) {
  std::vector<NamedCell> cells;
  const Experiment experiment = load_experiment(arguments.source, arguments.options);
  for (const Cell& cell : experiment.cells) {
    cells.push_back({{experiment.manifest.name, cell.slug, 0, cell.config_hash, cell.config},
                     {cell.slug, cell.folder_name(), cell.config_hash}});
  }
  return cells;
}

std::vector<NamedCell> cells_of_records(const fs::path& dir) {
  std::vector<NamedCell> cells;
  for (const Record& record : read_records(dir)) cells.push_back({record.request, name_of(record)});
  return cells;
}

// The one that was named (cell_name.h); of a folder's repeats, which are asked the same, the first that is there.
NamedCell chosen_cell(const ProfileArguments& arguments) {
  const bool records = fs::is_directory(arguments.source);
  ZO2_CHECK(!records || (arguments.options.variant.empty() && arguments.options.overrides.empty()), UsageError,
            "{} is a folder of records, whose cells are as they were run: --variant and -S are for a manifest",
            arguments.source);
  const std::vector<NamedCell> cells = records ? cells_of_records(arguments.source) : cells_of_manifest(arguments);
  std::vector<CellName> names;
  for (const NamedCell& cell : cells) names.push_back(cell.name);
  const std::string folder = find_cell(names, arguments.cell, arguments.source);
  const NamedCell cell = *std::ranges::find(cells, folder, [](const NamedCell& one) { return one.name.folder; });
  ZO2_CHECK(!config_at(cell.request.config, "engine.project").get<bool>(), UsageError,
            "{} is a forecast: nothing runs that could be profiled", cell.request.slug);
  ZO2_CHECK(config_at(cell.request.config, "method.name") != "external", UsageError,
            "{} runs another program, which has none of our ranges: profile its command by itself", cell.request.slug);
  return cell;
}

// The same cell, ending with the last captured step and without what would come between steps.
void shorten(CellRequest& request, const TraceWindow& steps, bool traced) {
  const int64_t end = steps.first + steps.count;
  Json& config = request.config;
  config_set(config, "train.steps", end);
  config_set(config, "train.eval_every", 0);
  config_set(config, "train.select", "last");
  config_set(config, "train.stop_within", 0.0);
  config_set(config, "train.snapshot_every", 0);
  // Traced steps are the last ones of the warm-up.
  config_set(config, "train.warmup",
             traced ? end : std::min(steps.first, config_at(config, "train.warmup").get<int64_t>()));
  config_set(config, "engine.trace", traced ? steps.count : 0);
  request.config_hash = config_hash(config);
}

// The program on PATH; empty when it is not there.
fs::path find_program(const std::string& name) {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path != nullptr ? path : "");
  for (std::string folder; std::getline(folders, folder, ':');) {
    const fs::path file = fs::path(folder) / name;
    if (!folder.empty() && fs::is_regular_file(file) && access(file.c_str(), X_OK) == 0) return fs::absolute(file);
  }
  return {};
}

// What is run, what it leaves, and what opens that.
struct Profiling {
  std::vector<std::string> command;
  fs::path file;
  std::string opened_with;
};

Profiling plan_profiling(const std::string& tool, const fs::path& program, const fs::path& folder,
                         const ProfileArguments& arguments, const std::string& steps) {
  Profiling profiling;
  const std::string base = (folder / "profile").string();
  std::vector<std::string>& command = profiling.command;
  if (tool == kNsys) {
    // Our ranges have no registered names, which Nsight Systems asks for by default.
    command = {program.string(),
               "profile",
               "--trace=cuda,nvtx",
               "--cuda-graph-trace=node",
               "--sample=none",
               "--cpuctxsw=none",
               "--capture-range=nvtx",
               "--nvtx-capture=capture@zo2",
               "--capture-range-end=none",
               "--env-var=NSYS_NVTX_PROFILER_REGISTER_ONLY=0",
               "--force-overwrite=true",
               "--output=" + base};
    profiling.file = base + ".nsys-rep";
    profiling.opened_with = fmt::format("nsys-ui, or: nsys stats {}", profiling.file.string());
  } else if (tool == kNcu) {
    command = {
        program.string(), "--nvtx", "--nvtx-include", "zo2@capture/", "--target-processes", "all", "--force-overwrite",
        "--export",       base};
    profiling.file = base + ".ncu-rep";
    profiling.opened_with = fmt::format("ncu-ui, or: ncu --import {}", profiling.file.string());
  } else {
    profiling.file = folder / kTraceFile;
    profiling.opened_with = fmt::format("https://ui.perfetto.dev, or: zo2 trace {}", folder.string());
  }
  command.insert(command.end(), arguments.tool_arguments.begin(), arguments.tool_arguments.end());
  for (const std::string& part :
       {self_executable().string(), std::string("cell"), folder.string(), std::string("--capture"), steps}) {
    command.push_back(part);
  }
  return profiling;
}

std::string command_line(const std::vector<std::string>& command) {
  std::vector<std::string> words;
  for (const std::string& word : command) words.push_back(shell_quoted(word));
  return fmt::format("{}", fmt::join(words, " "));
}

// The tool that is there, and why it is another one than was asked for.
std::pair<std::string, fs::path> choose_tool(const ProfileArguments& arguments) {
  const std::string asked = arguments.tool.empty() ? kNsys : arguments.tool;
  if (asked == kTrace) return {kTrace, {}};
  const fs::path program = find_program(asked);
  if (!program.empty()) return {asked, program};
  spdlog::warn("{} is not on the path: our own trace of the same steps instead", asked);
  ZO2_CHECK(arguments.tool_arguments.empty(), UsageError, "what follows -- is for {}, which is not on the path", asked);
  return {kTrace, {}};
}

int profile(const ProfileArguments& arguments) {
  NamedCell cell = chosen_cell(arguments);
  const auto warmup = config_at(cell.request.config, "train.warmup").get<int64_t>();
  const TraceWindow steps = arguments.steps.empty() ? TraceWindow{warmup, kDefaultSteps} : parse_steps(arguments.steps);
  const auto [tool, program] = choose_tool(arguments);
  ZO2_CHECK(tool != kTrace || config_at(cell.request.config, "method.name") != "mezo", UsageError,
            "method mezo runs no program that could be traced: profile it with nsys or ncu");
  shorten(cell.request, steps, tool == kTrace);
  const fs::path folder =
      fs::absolute(arguments.out.empty() ? fs::path("profiles") / cell.name.folder : fs::path(arguments.out));
  make_folder(folder);
  const Profiling profiling =
      plan_profiling(tool, program, folder, arguments, fmt::format("{}:{}", steps.first, steps.first + steps.count));
  for (const fs::path& old : {profiling.file, folder / kReportedFile}) fs::remove(old);
  write_file_atomically(folder / "config.json", to_json(cell.request).dump(2) + "\n");

  const std::string line = command_line(profiling.command);
  spdlog::info("steps {} to {} of {}; output in {}", steps.first, steps.first + steps.count - 1, cell.request.slug,
               (folder / "stderr.log").string());
  const InterruptGuard guard;
  const ProcessResult process = run_process(
      {.command = profiling.command, .stdout_path = folder / "stdout.log", .stderr_path = folder / "stderr.log"});
  if (process.interrupted) return 130;
  const bool made = process.exit_code == 0 && fs::exists(profiling.file);
  if (arguments.json) {
    const Json result{{"tool", tool},
                      {"command", profiling.command},
                      {"steps", {steps.first, steps.first + steps.count}},
                      {"exit_code", process.exit_code},
                      {"file", made ? Json(profiling.file.string()) : Json()},
                      {"open_with", profiling.opened_with}};
    fmt::print("{}\n", result.dump(2));
  } else {
    fmt::print("command: {}\n", line);
    if (made) fmt::print("open:    {} with {}\n", profiling.file.string(), profiling.opened_with);
  }
  if (!made) {
    spdlog::error("no {}: the command ended with {}; see stdout.log and stderr.log in {}", profiling.file.string(),
                  process.signal != 0 ? signal_name(process.signal) : fmt::format("exit code {}", process.exit_code),
                  folder.string());
  }
  return made ? 0 : 3;
}

}  // namespace

void add_profile(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<ProfileArguments>();
  CLI::App* command = app.add_subcommand("profile", "Profile steps of a cell with Nsight, or with our own trace");
  command->add_option("source", arguments->source, "a manifest, or the folder that `zo2 run --out` wrote")->required();
  command->add_option("cell", arguments->cell, kCellNameHelp)->required();
  command
      ->add_option("--tool", arguments->tool, "nsys, ncu or trace; default nsys, and trace where it is not installed")
      ->check(CLI::IsMember({kNsys, kNcu, kTrace}));
  command->add_option("--steps", arguments->steps, "FIRST:END, END not included; default two steps after warm-up");
  command->add_option("--out", arguments->out, "folder; default profiles/CELL");
  command->add_option("--variant", arguments->options.variant, "a variant that the manifest names");
  command->add_option("-S,--set", arguments->options.overrides, "key=value, over the manifest; may be given often")
      ->allow_extra_args(false);
  command->add_flag("--json", arguments->json, "print JSON");
  command->add_option("tool_arguments", arguments->tool_arguments, "after --: more arguments for nsys or ncu");
  command->footer(
      "Speeds under a profiler are no measurements. A step has thousands of kernels, and ncu repeats each many times:\n"
      "name those that matter, as in -- --kernel-name regex:visit --launch-count 20.\n"
      "Exit code: 0 fine, 2 bad usage, 3 the profiled run failed, 130 interrupted.");
  command->callback([arguments, &exit_code] { exit_code = profile(*arguments); });
}

}  // namespace zo2

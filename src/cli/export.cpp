// zo2 export: a run's weights as a folder that transformers loads.
#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "base/error.h"
#include "base/json.h"
#include "cli/commands.h"
#include "cli/recorded_run.h"
#include "store/checkpoint_writer.h"

namespace zo2 {
namespace {

struct ExportOptions {
  RecordedRunOptions run;
  std::string out;
  bool json = false;
};

void export_run(const ExportOptions& options) {
  namespace fs = std::filesystem;
  ZO2_CHECK(fs::weakly_canonical(options.out) != fs::weakly_canonical(options.run.run), UsageError,
            "--out {}: that is the run; its weights need a folder of their own", options.out);
  check_free_of_weights(options.out);
  const RecordedRun run(options.run);
  const HostWeights weights = run.weights(true);
  save_model(options.out, weights, run.source());
  const std::string hash = weights_hash(weights);
  if (options.json) {
    fmt::print("{}\n", Json{{"step", run.step()}, {"weights", hash}, {"out", options.out}}.dump(2));
  } else {
    fmt::print("{}: weights after step {}, {}\n", options.out, run.step(), hash);
  }
}

}  // namespace

void add_export(CLI::App& app, int& /*exit_code*/) {
  auto options = std::make_shared<ExportOptions>();
  CLI::App* command = app.add_subcommand("export", "The weights of a run as a folder that transformers loads");
  options->run.add_to(*command);
  command->add_option("--out", options->out, "Folder for safetensors, config.json and the base's tokenizer")
      ->required();
  command->add_flag("--json", options->json, "Print the result as JSON");
  command->callback([options] { export_run(*options); });
}

}  // namespace zo2

// zo2 replay: a run's weights made again from its base and its step log, and checked against what the run recorded;
// with --update, how much of what the log asked for is in them.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <memory>

#include "base/json.h"
#include "cli/commands.h"
#include "cli/recorded_run.h"
#include "runtime/update_size.h"

namespace zo2 {
namespace {

struct ReplayOptions {
  RecordedRunOptions run;
  bool update = false;
  bool json = false;
};

int replay(const ReplayOptions& options) {
  const RecordedRun run(options.run);
  // From the base, whatever snapshots there are: only so is the verdict one on the log.
  const HostWeights weights = run.weights(false);
  const std::string hash = weights_hash(weights);
  const std::optional<std::string> recorded = run.recorded_hash();
  const bool differs = recorded && *recorded != hash;
  std::optional<UpdateSize> update;
  if (options.update) {
    const HostWeights base = run.base();
    update = update_size(base, weights, run.unrounded(base));
  }
  if (options.json) {
    Json result{{"step", run.step()},
                {"logged_steps", run.logged_steps()},
                {"base", run.header().base_hash},
                {"weights", hash},
                {"recorded", recorded ? Json(*recorded) : Json()},
                {"verdict", !recorded ? "unknown"
                            : differs ? "differs"
                                      : "equal"}};
    if (update) {
      result["update"] = {{"asked_norm", update->asked}, {"applied_norm", update->applied}, {"kept", update->kept}};
    }
    fmt::print("{}\n", result.dump(2));
  } else {
    fmt::print("weights after step {}: {}\n", run.step(), hash);
    fmt::print("{}\n", !recorded ? fmt::format("{} records no hash of this step", run.folder())
                       : differs ? fmt::format("the run recorded {}: they differ", *recorded)
                                 : "equal to what the run recorded");
    if (update) {
      fmt::print(
          "the log asked for a change of norm {:.6g}; that of the weights is {:.6g}; {:.2f}% of what was asked for is "
          "in it\n",
          update->asked, update->applied, 100 * update->kept);
    }
  }
  if (differs) spdlog::error("{}: replayed weights differ from those that the run recorded", run.folder());
  return differs ? 1 : 0;
}

}  // namespace

void add_replay(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<ReplayOptions>();
  CLI::App* command =
      app.add_subcommand("replay", "The weights of a run from its base and step log, without data, against its record");
  options->run.add_to(*command);
  command->add_flag("--update", options->update,
                    "Also how much of the change that the log asks for is left after rounding to the weights' dtype");
  command->add_flag("--json", options->json, "Print the result as JSON");
  command->callback([options, &exit_code] { exit_code = replay(*options); });
}

}  // namespace zo2

// zo2 replay: a run's weights made again from its base and its step log, and checked against what the run recorded.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <memory>

#include "base/json.h"
#include "cli/commands.h"
#include "cli/recorded_run.h"

namespace zo2 {
namespace {

struct ReplayOptions {
  RecordedRunOptions run;
  bool json = false;
};

int replay(const ReplayOptions& options) {
  const RecordedRun run(options.run);
  // From the base, whatever snapshots there are: only so is the verdict one on the log.
  const std::string hash = weights_hash(run.weights(false));
  const std::optional<std::string> recorded = run.recorded_hash();
  const bool differs = recorded && *recorded != hash;
  if (options.json) {
    const Json result{{"step", run.step()},
                      {"logged_steps", run.logged_steps()},
                      {"base", run.header().base_hash},
                      {"weights", hash},
                      {"recorded", recorded ? Json(*recorded) : Json()},
                      {"verdict", !recorded ? "unknown"
                                  : differs ? "differs"
                                            : "equal"}};
    fmt::print("{}\n", result.dump(2));
  } else {
    fmt::print("weights after step {}: {}\n", run.step(), hash);
    fmt::print("{}\n", !recorded ? fmt::format("{} records no hash of this step", run.folder())
                       : differs ? fmt::format("the run recorded {}: they differ", *recorded)
                                 : "equal to what the run recorded");
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
  command->add_flag("--json", options->json, "Print the result as JSON");
  command->callback([options, &exit_code] { exit_code = replay(*options); });
}

}  // namespace zo2

// zo2 status DIR: how far a sweep is.
#include "experiment/status.h"

#include <fmt/format.h>

#include <memory>

#include "cli/commands.h"

namespace zo2 {

void add_status(CLI::App& app, int& exit_code) {
  auto dir = std::make_shared<std::string>();
  auto json = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand("status", "How far a sweep is: what is done, running, failed and left");
  command->add_option("dir", *dir, "the folder that `zo2 run --out` writes")->required();
  command->add_flag("--json", *json, "print JSON");
  command->callback([dir, json, &exit_code] {
    const SweepStatus status = read_status(*dir);
    fmt::print("{}", *json ? to_json(status, *dir).dump(2) + "\n" : render_text(status));
    exit_code = 0;
  });
}

}  // namespace zo2

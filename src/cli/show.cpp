// zo2 show DIR CELL, or zo2 show FOLDER: one record in full.
#include <fmt/format.h>

#include <memory>
#include <optional>

#include "base/error.h"
#include "cli/commands.h"
#include "experiment/cell_name.h"
#include "experiment/record_text.h"

namespace zo2 {
namespace {

struct ShowArguments {
  std::string dir;
  std::string cell;
  std::optional<int> repeat;
  bool json = false;
};

Record record_of(const ShowArguments& arguments) {
  if (!arguments.cell.empty()) return find_record(arguments.dir, arguments.cell, arguments.repeat);
  auto record = read_record(arguments.dir);
  ZO2_CHECK(record, UsageError, "{} is not the folder of a repeat that has ended; name a cell: zo2 show DIR CELL",
            arguments.dir);
  return std::move(*record);
}

}  // namespace

void add_show(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<ShowArguments>();
  CLI::App* command = app.add_subcommand("show", "One record in full: configuration, metrics, environment, error");
  command->add_option("dir", arguments->dir, "the folder that `zo2 run --out` writes, or a repeat's own folder")
      ->required();
  command->add_option("cell", arguments->cell, kCellNameHelp);
  command->add_option("--repeat", arguments->repeat, "which repeat; default the first that has ended")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--json", arguments->json, "print JSON");
  command->callback([arguments, &exit_code] {
    const Record record = record_of(*arguments);
    fmt::print("{}", arguments->json ? to_json(record).dump(2) + "\n" : render_text(record));
    exit_code = 0;
  });
}

}  // namespace zo2

// zo2 report: what the records of a folder say.
#include "experiment/report.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "base/error.h"
#include "cli/commands.h"
#include "experiment/environment.h"

namespace zo2 {
namespace {

struct ReportArguments {
  std::string dir;
  std::string reference;
  bool all = false;
  bool json = false;
};

std::vector<ReferenceFigure> figures_for(const ReportArguments& arguments) {
  if (!arguments.reference.empty()) return read_references(arguments.reference);
  try {
    return read_references(experiments_folder() / "reference");
  } catch (const IoError& error) {
    fmt::print(stderr, "no published figures beside ours: {}\n", error.what());
    return {};
  }
}

void report(const ReportArguments& arguments) {
  const Report report = build_report(arguments.dir, figures_for(arguments), arguments.all);
  if (arguments.json) {
    fmt::print("{}\n", to_json(report).dump(2));
    return;
  }
  fmt::print("{}\n", report.name);
  for (const Table& table : to_tables(report)) fmt::print("\n{}", render_text(table));
}

}  // namespace

void add_report(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<ReportArguments>();
  CLI::App* command =
      app.add_subcommand("report", "Show the records of a folder: measured, equal, projected, expected");
  command->add_option("dir", arguments->dir, "the folder that `zo2 run --out` wrote")->required();
  command->add_option("--reference", arguments->reference,
                      "folder of published figures; default experiments/reference");
  command->add_flag("--all", arguments->all, "also records of cells that the last run did not have");
  command->add_flag("--json", arguments->json, "print JSON");
  command->callback([arguments, &exit_code] {
    report(*arguments);
    exit_code = 0;
  });
}

}  // namespace zo2

// zo2 export-records: a folder's records as one CSV table, a row for each repeat.
#include "experiment/export_records.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "cli/commands.h"
#include "experiment/import.h"
#include "experiment/record_folder.h"

namespace zo2 {
namespace {

struct ExportArguments {
  std::string dir;
  std::string format = "csv";
  bool all = false;
};

void export_records(const ExportArguments& arguments) {
  std::vector<Record> records = read_record_folder(arguments.dir, arguments.all).records;
  for (Record& record : read_imported_records(arguments.dir)) records.push_back(std::move(record));
  fmt::print("{}", render_csv(export_table(records)));
}

}  // namespace

void add_export_records(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<ExportArguments>();
  CLI::App* command = app.add_subcommand("export-records", "Print records as CSV, a row for each repeat");
  command->add_option("dir", arguments->dir, "the folder that `zo2 run --out` wrote")->required();
  command->add_option("--format", arguments->format, "csv")->check(CLI::IsMember({"csv"}));
  command->add_flag("--all", arguments->all, "also records of cells that the last run did not have");
  command->callback([arguments, &exit_code] {
    export_records(*arguments);
    exit_code = 0;
  });
}

}  // namespace zo2

// zo2 import: runs of other systems as records, to stand beside ours.
#include "experiment/import.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "cli/commands.h"

namespace zo2 {
namespace {

struct ImportArguments {
  std::string file;
  std::string name;
  std::string out;
};

}  // namespace

void add_import(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<ImportArguments>();
  CLI::App* command = app.add_subcommand("import", "Make records of another system's runs, to show beside ours");
  command->add_option("file", arguments->file, "JSON lines, one for each run: configuration keys and metrics")
      ->required();
  command->add_option("--as", arguments->name, "the system's name, e.g. python-zo2")->required();
  command->add_option("--out", arguments->out, "a folder of records; they go to its folder imported/NAME")->required();
  command->footer(
      "A line: {\"model.name\": \"opt-1.3b\", \"model.tie_embeddings\": false, \"method.name\": \"zo2\",\n"
      "\"engine.dtype\": \"fp16\", \"data.batch\": 1, \"data.seq\": 2048, \"tokens_per_s\": 13985,\n"
      "\"gpu\": \"NVIDIA H100 80GB\", \"link\": \"PCIe 5\", \"source\": \"run.log\"}. What was imported under that "
      "name "
      "is replaced.");
  command->callback([arguments, &exit_code] {
    const size_t count = import_records(arguments->file, arguments->name, arguments->out);
    fmt::print("{} records in {}/imported/{}\n", count, arguments->out, arguments->name);
    exit_code = 0;
  });
}

}  // namespace zo2

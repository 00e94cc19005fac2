// zo2 reference ROOT: writes the reference pages and JSON Schemas of the repository from the program's tables.
#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "base/error.h"
#include "base/json.h"
#include "cli/commands.h"
#include "experiment/reference_pages.h"

namespace zo2 {

void add_reference(CLI::App& app, int& /*exit_code*/) {
  auto root = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("reference", "Write docs/reference and schema below a folder");
  command->group("");  // hidden from help: for who changes a table
  command->add_option("root", *root, "the root of the repository")->required();
  command->callback([root] {
    for (const auto& [name, text] : generated_files()) {
      const std::filesystem::path path = std::filesystem::path(*root) / name;
      std::error_code error;
      std::filesystem::create_directories(path.parent_path(), error);
      ZO2_CHECK(!error, IoError, "cannot make the folder {}: {}", path.parent_path().string(), error.message());
      write_file_atomically(path, text);
      fmt::print("{}\n", path.string());
    }
  });
}

}  // namespace zo2

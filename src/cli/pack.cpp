// zo2 pack: one archive of a folder's records.
#include "experiment/pack.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "base/json.h"
#include "cli/commands.h"

namespace zo2 {
namespace {

struct PackArguments {
  std::string dir;
  std::string archive;
  bool json = false;
};

void pack(const PackArguments& arguments) {
  const PackSummary summary = pack_records(arguments.dir, arguments.archive);
  const auto archive_bytes = static_cast<int64_t>(std::filesystem::file_size(arguments.archive));
  for (const std::string& warning : summary.warnings) spdlog::warn("{}", warning);
  if (arguments.json) {
    const Json json{{"archive", arguments.archive}, {"archive_bytes", archive_bytes},  {"records", summary.records},
                    {"files", summary.files},       {"unpacked_bytes", summary.bytes}, {"warnings", summary.warnings}};
    fmt::print("{}\n", json.dump(2));
  } else {
    fmt::print("{}: {} kB, {} records in {} files of {} kB\n", arguments.archive, archive_bytes / 1000, summary.records,
               summary.files, summary.bytes / 1000);
  }
}

}  // namespace

void add_pack(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<PackArguments>();
  CLI::App* command = app.add_subcommand("pack", "Pack a folder's records into one archive with checksums");
  command->add_option("dir", arguments->dir, "the folder that `zo2 run --out` wrote")->required();
  command->add_option("archive", arguments->archive, "FILE.tar.zst or FILE.tar.gz")->required();
  command->add_flag("--json", arguments->json, "print the summary as JSON");
  command->footer("Unpack with tar and check with `sha256sum -c SHA256SUMS`; zo2 report reads the unpacked folder.");
  command->callback([arguments, &exit_code] {
    pack(*arguments);
    exit_code = 0;
  });
}

}  // namespace zo2

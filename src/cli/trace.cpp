// zo2 trace: how well the copies of a traced run hid behind its computing.
#include "runtime/trace.h"

#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <set>
#include <string>

#include "base/error.h"
#include "base/json.h"
#include "cli/commands.h"

namespace zo2 {
namespace {

namespace fs = std::filesystem;

// A trace file, or the one in a folder that `zo2 train --trace N` or a traced cell wrote.
fs::path find_trace(const fs::path& path) {
  if (!fs::is_directory(path)) return path;
  ZO2_CHECK(fs::exists(path / kTraceFile), UsageError,
            "{} has no {}: train with --trace N, or run a cell with engine.trace: N, and name that folder",
            path.string(), kTraceFile);
  return path / kTraceFile;
}

void trace(const fs::path& path, bool json) {
  const fs::path file = find_trace(path);
  const std::vector<TraceSpan> spans = read_trace(file);
  const Overlap overlap = overlap_of(spans);
  std::set<int64_t> steps;
  for (const TraceSpan& span : spans) steps.insert(span.step);
  if (json) {
    const Json result{{"steps", steps.size()},
                      {"operations", spans.size()},
                      {"wall_ms", overlap.wall_ms},
                      {"upload_ms", overlap.upload_ms},
                      {"compute_ms", overlap.compute_ms},
                      {"download_ms", overlap.download_ms},
                      {"transfer_ms", overlap.transfer_ms},
                      {"exposed_ms", overlap.exposed_ms},
                      {"exposed_transfer_fraction", overlap.exposed_fraction()},
                      {"busiest_stream_fraction", overlap.busiest_fraction()}};
    fmt::print("{}\n", result.dump(2));
    return;
  }
  const auto row = [](const char* name, double ms, const std::string& note) {
    fmt::print("{:<18} {:>12.3f} ms  {}\n", name, ms, note);
  };
  const auto of_wall = [&](double ms) {
    return overlap.wall_ms > 0 ? fmt::format("{:.1f}% of the wall time", 100 * ms / overlap.wall_ms) : "";
  };
  row("wall", overlap.wall_ms, fmt::format("{} steps, {} operations", steps.size(), spans.size()));
  row("upload busy", overlap.upload_ms, of_wall(overlap.upload_ms));
  row("compute busy", overlap.compute_ms, of_wall(overlap.compute_ms));
  row("download busy", overlap.download_ms, of_wall(overlap.download_ms));
  row("exposed transfers", overlap.exposed_ms,
      fmt::format("{:.1f}% of the time in which anything is copied", 100 * overlap.exposed_fraction()));
  fmt::print("the busiest of the three streams works in {:.1f}% of the wall time\n", 100 * overlap.busiest_fraction());
  fmt::print(stderr, "to look at it: open {} in https://ui.perfetto.dev\n", file.string());
}

}  // namespace

void add_trace(CLI::App& app, int& /*exit_code*/) {
  auto path = std::make_shared<std::string>();
  auto json = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand("trace", "How copies and computing of a traced run overlap");
  command->add_option("path", *path, "A folder of `zo2 train --trace N` or of a traced cell, or its trace.json")
      ->required();
  command->add_flag("--json", *json, "Print JSON");
  command->footer("The file itself opens in https://ui.perfetto.dev.");
  command->callback([path, json] { trace(*path, *json); });
}

}  // namespace zo2

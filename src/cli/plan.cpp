// zo2 plan: the cells of a manifest and what each will use, without running any and without a GPU.
#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <set>

#include "base/bytes.h"
#include "cli/cell_plan.h"
#include "cli/commands.h"
#include "cli/manifest_options.h"
#include "experiment/config_schema.h"
#include "experiment/table.h"
#include "store/host_memory.h"

namespace zo2 {
namespace {

// Of a record on disk, as measured: a line of samples.jsonl, and everything else.
constexpr int64_t kSampleBytes = 200;
constexpr int64_t kRecordBytes = 6000;

struct PlanArguments {
  std::string manifest;
  ManifestOptions options;
  bool forecast = false;
  bool json = false;
};

struct Totals {
  int64_t cells = 0;  // not skipped
  int64_t runs = 0;
  int64_t steps = 0;
  int64_t not_fitting = 0;
  int64_t disk_bytes = 0;
  std::optional<size_t> most_device;  // index of the cell, of those that run
  std::optional<size_t> most_host;
  double seconds = 0;             // of the runs with a forecast
  int64_t runs_without_time = 0;  // the others
};

Totals total(const Experiment& experiment, const std::vector<CellPlan>& plans) {
  Totals totals;
  for (size_t i = 0; i < plans.size(); ++i) {
    const CellPlan& plan = plans[i];
    if (plan.fit == Fit::skipped) continue;
    const bool runs = plan.fit != Fit::projected;
    const int64_t repeats = experiment.manifest.repeats;
    const int64_t steps = runs ? config_at(experiment.cells[i].config, "train.steps").get<int64_t>() : 0;
    ++totals.cells;
    totals.runs += repeats;
    totals.steps += repeats * steps;
    totals.disk_bytes += repeats * (kRecordBytes + kSampleBytes * steps);
    totals.not_fitting += plan.fit == Fit::does_not_fit || plan.fit == Fit::cannot_run;
    if (!runs) continue;
    const auto more = [&](std::optional<int64_t> CellPlan::* bytes, const std::optional<size_t>& most) {
      return plan.*bytes && (!most || *(plan.*bytes) > *(plans[*most].*bytes));
    };
    if (more(&CellPlan::device_bytes, totals.most_device)) totals.most_device = i;
    if (more(&CellPlan::host_bytes, totals.most_host)) totals.most_host = i;
    if (plan.seconds) {
      totals.seconds += static_cast<double>(repeats) * *plan.seconds;
    } else {
      totals.runs_without_time += repeats;
    }
  }
  return totals;
}

template <typename T>
void put(Json& json, const char* key, const std::optional<T>& value) {
  if (value) json[key] = *value;
}

Json to_json(const Cell& cell, const CellPlan& plan) {
  const auto at = [&](std::string_view key) { return config_at(cell.config, key); };
  Json json{{"slug", cell.slug},           {"config_hash", cell.config_hash}, {"model", model_name(cell.config)},
            {"method", at("method.name")}, {"dtype", at("engine.dtype")},     {"batch", at("data.batch")},
            {"seq", at("data.seq")},       {"verdict", fit_name(plan.fit)}};
  if (!plan.reason.empty()) json["reason"] = plan.reason;
  if (!plan.judged_on.empty()) json["judged_on"] = plan.judged_on;
  put(json, "parameters", plan.parameters);
  put(json, "arena_bytes", plan.arena_bytes);
  put(json, "nvml_projected_bytes", plan.device_bytes);
  put(json, "host_bytes", plan.host_bytes);
  put(json, "step_ms", plan.step_ms);
  put(json, "tokens_per_s", plan.tokens_per_s);
  put(json, "seconds", plan.seconds);
  return json;
}

std::string duration(double seconds) {
  if (seconds < 100) return fmt::format("{:.1f} s", seconds);
  if (seconds < 6000) return fmt::format("{:.0f} min", seconds / 60);
  return fmt::format("{:.1f} h", seconds / 3600);
}

std::string count_text(int64_t parameters) {
  const auto count = static_cast<double>(parameters);
  return count < 1e9 ? fmt::format("{:.1f}M", count / 1e6) : fmt::format("{:.2f}B", count / 1e9);
}

std::vector<std::string> row_of(const Cell& cell, const CellPlan& plan, bool forecast) {
  const auto word = [&](std::string_view key) { return config_at(cell.config, key).get<std::string>(); };
  const auto number = [&](std::string_view key) { return config_at(cell.config, key).get<int64_t>(); };
  const auto bytes = [](const std::optional<int64_t>& value) { return value ? format_bytes(*value) : "-"; };
  std::vector<std::string> row{cell.slug,
                               model_name(cell.config),
                               word("method.name"),
                               word("engine.dtype"),
                               fmt::format("{} x {}", number("data.batch"), number("data.seq")),
                               plan.parameters ? count_text(*plan.parameters) : "-",
                               bytes(plan.arena_bytes),
                               bytes(plan.device_bytes),
                               bytes(plan.host_bytes)};
  if (forecast) {
    row.push_back(plan.tokens_per_s ? fmt::format("{:.0f}", *plan.tokens_per_s) : "-");
    row.push_back(plan.seconds ? duration(*plan.seconds) : "-");
  }
  row.push_back(fmt::format("{}{}{}", fit_name(plan.fit), plan.reason.empty() ? "" : ": ", plan.reason));
  return row;
}

Table table_of(const Experiment& experiment, const std::vector<CellPlan>& plans, const Totals& totals,
               const PlanArguments& arguments, const Machine& machine) {
  Table table{.title = fmt::format("{}: device memory and speed are projected", experiment.manifest.name),
              .columns = {"cell", "model", "method", "dtype", "batch x seq", "parameters", "arena", "device", "host"},
              .rows = {},
              .notes = {}};
  if (arguments.forecast) table.columns.insert(table.columns.end(), {"tok/s", "a repeat"});
  table.columns.emplace_back("verdict");
  std::set<std::string> judges;
  for (size_t i = 0; i < plans.size(); ++i) {
    table.rows.push_back(row_of(experiment.cells[i], plans[i], arguments.forecast));
    if (!plans[i].judged_on.empty()) judges.insert(plans[i].judged_on);
  }
  const auto note = [&](const std::string& text) { table.notes.push_back(text); };
  note(fmt::format("judged on: {}{}; {} of host memory are free here", fmt::join(judges, ", "),
                   machine.gpu ? "" : " (there is no GPU here)", format_bytes(machine.host_available_bytes)));
  note(fmt::format("{} cells x {} = {} runs, {} steps{}; records of about {}", totals.cells,
                   experiment.manifest.repeats, totals.runs, totals.steps,
                   totals.cells == static_cast<int64_t>(plans.size())
                       ? ""
                       : fmt::format(", {} skipped", static_cast<int64_t>(plans.size()) - totals.cells),
                   format_bytes(totals.disk_bytes)));
  const auto most = [&](const char* what, const std::optional<size_t>& cell, std::optional<int64_t> CellPlan::* bytes) {
    if (cell)
      note(fmt::format("most {} memory: {}, {}", what, format_bytes(*(plans[*cell].*bytes)),
                       experiment.cells[*cell].slug));
  };
  most("device", totals.most_device, &CellPlan::device_bytes);
  most("host", totals.most_host, &CellPlan::host_bytes);
  if (totals.not_fitting > 0) note(fmt::format("{} of the cells do not fit or cannot run", totals.not_fitting));
  if (arguments.forecast) {
    note(fmt::format(
        "time in steps: {}{}", duration(totals.seconds),
        totals.runs_without_time == 0
            ? ""
            : fmt::format(", and {} runs without a forecast (CPU, mezo, or no plan)", totals.runs_without_time)));
  }
  return table;
}

void plan(const PlanArguments& arguments) {
  const Experiment experiment = load_experiment(arguments.manifest, arguments.options);
  // Plans are made and dropped by the thousand: their memory is not given back to the kernel in between.
  mallopt(M_MMAP_THRESHOLD, 32 * kMiB);
  mallopt(M_TRIM_THRESHOLD, 512 * kMiB);
  const Machine machine{local_gpu(), available_host_bytes()};
  const std::vector<CellPlan> plans = plan_cells(experiment.cells, machine, arguments.forecast);
  const Totals totals = total(experiment, plans);
  if (!arguments.json) {
    fmt::print("{}", render_text(table_of(experiment, plans, totals, arguments, machine)));
    return;
  }
  Json cells = Json::array();
  for (size_t i = 0; i < plans.size(); ++i) cells.push_back(to_json(experiment.cells[i], plans[i]));
  Json sums{{"cells", totals.cells}, {"repeats", experiment.manifest.repeats}, {"runs", totals.runs},
            {"steps", totals.steps}, {"not_fitting", totals.not_fitting},      {"records_bytes", totals.disk_bytes}};
  if (arguments.forecast) {
    sums["seconds"] = totals.seconds;
    sums["runs_without_forecast"] = totals.runs_without_time;
  }
  const Json all{
      {"schema", 1},
      {"name", experiment.manifest.name},
      {"gpu", machine.gpu ? Json{{"name", machine.gpu->name}, {"memory_bytes", machine.gpu->total_bytes}} : Json()},
      {"host_available_bytes", machine.host_available_bytes},
      {"cells", std::move(cells)},
      {"totals", std::move(sums)}};
  fmt::print("{}\n", all.dump(2));
}

}  // namespace

void add_plan(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<PlanArguments>();
  CLI::App* command = app.add_subcommand("plan", "Show the cells of a manifest and what each will use; runs nothing");
  add_manifest_options(*command, arguments->manifest, arguments->options);
  command->add_flag("--forecast", arguments->forecast, "also speed and time, projected for engine.hardware");
  command->add_flag("--json", arguments->json, "print JSON");
  command->footer("Exit code: 0 fine, also when cells do not fit; 2 bad manifest.");
  command->callback([arguments, &exit_code] {
    plan(*arguments);
    exit_code = 0;
  });
}

}  // namespace zo2

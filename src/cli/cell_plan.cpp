#include "cli/cell_plan.h"

#include <algorithm>
#include <array>
#include <map>

#include "base/bytes.h"
#include "base/error.h"
#include "base/nvml.h"
#include "cli/job_config.h"
#include "cli/projection.h"
#include "experiment/config_schema.h"
#include "experiment/external.h"
#include "store/host_weights.h"
#include "store/parallel.h"

namespace zo2 {
namespace {

// Keys that change neither memory nor the time of a step. A key that is not named here is taken to change the plan.
constexpr std::string_view kNoPlanKeys[] = {"data.seed",
                                            "method.eps",
                                            "method.lr",
                                            "method.weight_decay",
                                            "method.noise_seed",
                                            "method.noise",
                                            "method.rounding",
                                            "train.steps",
                                            "train.warmup",
                                            "train.schedule",
                                            "train.stop_within",
                                            "train.snapshot_every",
                                            "method.micro_batches",
                                            "engine.threads",
                                            "engine.trace",
                                            "engine.project",
                                            "engine.device"};
// Keys that change the time of a step only.
constexpr std::string_view kTimeKeys[] = {"method.writeback_every", "engine.overlap"};

// Equal for cells with the same needs.
std::string plan_identity(Json config, const Hardware* hardware, bool with_forecast) {
  for (std::string_view key : kNoPlanKeys) config_set(config, key, nullptr);
  for (std::string_view key : kTimeKeys) {
    if (!with_forecast) config_set(config, key, nullptr);
  }
  return config.dump() + (hardware == nullptr ? " cpu" : "");
}

std::string text_at(const Json& config, std::string_view key) { return config_at(config, key).get<std::string>(); }

// Logits of the whole batch, or the direction of the largest parameter: they are not there at the same time.
int64_t textbook_scratch_bytes(const ModelConfig& model, const ParameterTable& table, const PlanSettings& settings) {
  int64_t largest = settings.batch * settings.seq * model.vocab_size;
  for (const Parameter& parameter : table.parameters) largest = std::max(largest, parameter.count());
  return largest * dtype_bytes(settings.dtype);
}

// What decides memory and speed; where there is no plan, why.
struct Needs {
  int64_t parameters = 0;
  int64_t weight_bytes = 0;           // all weights
  int64_t physical_weight_bytes = 0;  // aliases counted once
  std::optional<int64_t> arena_bytes;
  int64_t baseline_bytes = 0;  // what the textbook baseline holds at least beside the weights
  std::optional<double> pass_ms;
  std::optional<double> tokens_per_s;
  std::string problem;  // empty: none
  Fit failure = Fit::cannot_run;
};

struct Question {
  const Json* config;
  const Hardware* hardware;  // nullptr: a CPU
};

bool is_projected(const Cell& cell) { return config_at(cell.config, "engine.project").get<bool>(); }

Needs needs_of(const Json& config, const Hardware* hardware, bool with_forecast) {
  Needs needs;
  const ModelConfig model = model_from_config(config).config;
  const ParameterTable table = parameters_of(model);
  const DType dtype = parse_dtype(text_at(config, "engine.dtype"));
  const bool aliased = config_at(config, "engine.host_weights") == "aliased";
  needs.parameters = table.count();
  needs.weight_bytes = physical_weight_bytes(table, dtype, HostWeightsKind::exact);
  needs.physical_weight_bytes =
      aliased ? physical_weight_bytes(table, dtype, HostWeightsKind::aliased) : needs.weight_bytes;
  if (config_at(config, "method.name") == "mezo") {
    needs.baseline_bytes = textbook_scratch_bytes(model, table, plan_settings_from_config(config));
    return needs;
  }
  try {
    const Plan plan = plan_from_config(config, hardware, with_forecast);
    needs.arena_bytes = plan.arena_bytes();
    if (with_forecast && hardware != nullptr) {
      const Forecast speed = forecast_plan(plan, *hardware);
      needs.pass_ms = speed.step_ms;
      needs.tokens_per_s = speed.tokens_per_s(plan.training->program.shape);
    }
  } catch (const UsageError& error) {
    needs.problem = error.what();
    if (gpu_memory_from_config(config) == 0) return needs;
    // Would it run without the bound on memory?
    Json unbounded = config;
    config_set(unbounded, "engine.gpu_memory", "smallest");
    if (needs_of(unbounded, hardware, false).problem.empty()) needs.failure = Fit::does_not_fit;
  }
  return needs;
}

void judge_memory(const Json& config, const Hardware* hardware, const Needs& needs, const Machine& machine,
                  CellPlan& plan) {
  const bool textbook = config_at(config, "method.name") == "mezo";
  std::vector<std::string> lacks;
  const auto require = [&](std::string_view what, int64_t needed, int64_t available) {
    if (needed <= available) return;
    lacks.push_back(fmt::format("{} {}{}, of {} available", what, textbook ? "at least " : "", format_bytes(needed),
                                format_bytes(available)));
  };
  plan.host_bytes = needs.physical_weight_bytes;
  if (hardware == nullptr) {
    *plan.host_bytes += textbook ? needs.baseline_bytes : *needs.arena_bytes;
  } else {
    const int64_t held = textbook ? needs.weight_bytes + needs.baseline_bytes : *needs.arena_bytes;
    plan.device_bytes = hardware->nvml_bytes(held, registers_weights(config) ? needs.weight_bytes : 0);
    const int64_t idle = hardware->idle_bytes();
    require("device memory", *plan.device_bytes - idle,
            machine.gpu ? machine.gpu->total_bytes - machine.gpu->used_bytes : hardware->memory_bytes() - idle);
  }
  require("host memory", *plan.host_bytes, machine.host_available_bytes);
  if (!lacks.empty()) {
    plan.fit = Fit::does_not_fit;
    plan.reason = fmt::format("{}", fmt::join(lacks, "; "));
  } else if (textbook) {
    plan.fit = Fit::may_fit;
    plan.reason = "the textbook baseline has no plan; counted are weights and logits";
  }
}

CellPlan judge_cell(const Cell& cell, const Hardware* hardware, const Needs& needs, const Machine& machine) {
  CellPlan plan;
  plan.judged_on = hardware == nullptr                  ? "cpu"
                   : is_projected(cell) || !machine.gpu ? hardware->name
                                                        : machine.gpu->name;
  if (needs.parameters > 0) plan.parameters = needs.parameters;
  if (!needs.problem.empty()) {
    plan.fit = needs.failure;
    plan.reason = needs.problem;
    return plan;
  }
  plan.arena_bytes = needs.arena_bytes;
  judge_memory(cell.config, hardware, needs, machine, plan);
  if (is_projected(cell)) {
    plan.fit = needs.arena_bytes ? Fit::projected : Fit::cannot_run;
    plan.reason = needs.arena_bytes ? "" : "the textbook baseline has no plan to project from";
  }
  if (needs.pass_ms) {
    plan.step_ms = *needs.pass_ms * config_at(cell.config, "method.micro_batches").get<double>();
    plan.tokens_per_s = needs.tokens_per_s;  // a pass more brings tokens more
    if (!is_projected(cell)) plan.seconds = config_at(cell.config, "train.steps").get<double>() * *plan.step_ms / 1e3;
  }
  return plan;
}

}  // namespace

std::string_view fit_name(Fit fit) {
  constexpr std::array<std::string_view, 6> kNames{"fits",       "does not fit", "may fit",
                                                   "cannot run", "projected",    "skipped"};
  return kNames[static_cast<size_t>(fit)];
}

std::optional<LocalGpu> local_gpu() {
  const auto device = Nvml::open().visible_device();
  const auto memory = device ? device->memory() : std::nullopt;
  if (!memory) return std::nullopt;
  return LocalGpu{device->name().value_or("GPU"), memory->total_bytes, memory->used_bytes};
}

std::vector<CellPlan> plan_cells(const std::vector<Cell>& cells, const Machine& machine, bool with_forecast) {
  std::map<std::string, Hardware> hardware;  // by name
  std::vector<Question> questions;           // each once
  std::map<std::string, size_t> index;       // by what decides the answer
  std::vector<size_t> question_of(cells.size());
  for (size_t i = 0; i < cells.size(); ++i) {
    const Json& config = cells[i].config;
    if (cells[i].skip_reason) continue;
    Question question{&config, nullptr};
    if (config_at(config, "engine.device") != "cpu" || is_projected(cells[i])) {
      const std::string name = text_at(config, "engine.hardware");
      if (!hardware.contains(name)) hardware.emplace(name, hardware_by_name(name));
      question.hardware = &hardware.at(name);
    }
    const auto [found, fresh] =
        index.emplace(plan_identity(config, question.hardware, with_forecast), questions.size());
    if (fresh) questions.push_back(question);
    question_of[i] = found->second;
  }
  std::vector<Needs> needs(questions.size());
  parallel_for(hardware_threads(), static_cast<int64_t>(questions.size()), [&](int64_t i) {
    const auto n = static_cast<size_t>(i);
    try {
      needs[n] = needs_of(*questions[n].config, questions[n].hardware, with_forecast);
    } catch (const Error& error) {  // no such checkpoint, no such data
      needs[n].problem = error.what();
    }
  });
  std::vector<CellPlan> plans;
  for (size_t i = 0; i < cells.size(); ++i) {
    const size_t n = question_of[i];
    if (cells[i].skip_reason) {
      plans.emplace_back();
      plans.back().fit = Fit::skipped;
      plans.back().reason = *cells[i].skip_reason;
    } else if (is_external(cells[i].config)) {
      plans.emplace_back();
      plans.back().fit = Fit::may_fit;
      plans.back().reason = "another program: what it takes is not known before it runs";
    } else {
      plans.push_back(judge_cell(cells[i], questions[n].hardware, needs[n], machine));
    }
  }
  return plans;
}

}  // namespace zo2

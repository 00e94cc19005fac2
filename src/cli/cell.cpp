// zo2 cell FOLDER: one repeat of an experiment, in a process of its own; started by `zo2 run`.
#include <spdlog/spdlog.h>

#include <memory>
#include <vector>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/job_config.h"
#include "cli/projection.h"
#include "cli/step_memory.h"
#include "cli/step_sample.h"
#include "cli/step_window.h"
#include "experiment/check.h"
#include "experiment/config_schema.h"
#include "experiment/record.h"
#include "experiment/repeat_result.h"
#include "experiment/runner.h"
#include "experiment/timed_window.h"

namespace zo2 {
namespace {

void add_plan_metrics(const Plan& plan, Json& metrics, Json& chosen) {
  const Traffic traffic = traffic_per_step(plan);
  metrics["arena_planned_bytes"] = plan.arena_bytes();
  metrics["tile_bytes"] = plan.widest_tile_bytes();
  metrics["slots"] = plan.layout.tile_slots.count;
  metrics["resident_bytes"] = plan.layout.resident_bytes;
  metrics["upload_bytes_per_step"] = traffic.upload_bytes;
  metrics["download_bytes_per_step"] = traffic.download_bytes;
  chosen["tile_bytes"] = plan.widest_tile_bytes();
}

void add_loss_metrics(const std::vector<StepSample>& samples, Json& metrics) {
  if (samples.empty()) return;
  const auto mean = [](const StepSample& sample) {
    double sum = 0;
    for (size_t i = 0; i < sample.loss_plus.size(); ++i) sum += sample.loss_plus[i] + sample.loss_minus[i];
    return sum / (2.0 * static_cast<double>(sample.loss_plus.size()));
  };
  metrics["loss_first"] = json_number(mean(samples.front()));
  metrics["loss_last"] = json_number(mean(samples.back()));
  metrics["gradient_nonzero_fraction"] = informative_fraction(samples);
}

// What the trace says about a step, against the copies alone in the same process.
void add_trace_metrics(const std::filesystem::path& folder, const TrainReport& report, Json& metrics) {
  if (report.trace.empty()) return;
  write_trace(folder / kTraceFile, report.trace);
  const Overlap overlap = overlap_of(report.trace);
  metrics["exposed_transfer_fraction"] = overlap.exposed_fraction();
  metrics["busiest_stream_fraction"] = overlap.busiest_fraction();
  if (report.copies_only_ms == 0) return;  // the CPU has no link to measure
  metrics["copies_only_ms"] = report.copies_only_ms;
  if (metrics.contains("step_ms_mean")) {
    metrics["roofline_efficiency"] = report.copies_only_ms / metrics["step_ms_mean"].get<double>();
  }
}

Json projected_result(const CellRequest& request) {
  const Hardware hardware = hardware_by_name(config_at(request.config, "engine.hardware").get<std::string>());
  const Plan plan = plan_from_config(request.config, &hardware);
  const Json projection = project(plan, hardware, registers_weights(request.config));
  Json result = make_result(State::projected, request.config_hash);
  for (const char* key : {"parameters", "arena_bytes", "host_bytes", "tokens_per_s", "nvml_projected_bytes"}) {
    result["metrics"][key] = projection.at(key);
  }
  add_plan_metrics(plan, result["metrics"], result["chosen"]);
  result["chosen"]["hardware"] = projection.at("hardware");
  result["chosen"]["tie_embeddings"] = plan.config.tie_embeddings;
  return result;
}

Json trained_result(const std::filesystem::path& folder, const CellRequest& request, const TraceWindow& capture) {
  Json result = make_result(State::ok, request.config_hash);
  Json& metrics = result["metrics"];
  SampleWriter writer(folder);
  std::vector<StepSample> samples;
  std::vector<int64_t> tokens;
  TrainJob job = job_from_config(request.config);
  StoppingRule stopping_rule(config_at(request.config, "train.stop_within").get<double>(),
                             config_at(request.config, "train.warmup").get<int64_t>(),
                             config_at(request.config, "method.writeback_every").get<int64_t>());
  job.trainer.stop_before = [&](int64_t step) { return stopping_rule.stop_before(step); };
  job.capture = capture;
  if (capture.count > 0) job.test.reset();  // the run is over with these steps
  StepMemory step_memory(job.device == Device::cuda);
  TrainObserver observer;
  observer.on_plan = [&](const Plan& plan) { add_plan_metrics(plan, metrics, result["chosen"]); };
  observer.on_step = [&](const StepResult& step) {
    step_memory.read();
    samples.push_back(to_sample(step));
    stopping_rule.add(samples.back().step_ms);
    tokens.push_back(step.tokens);
    writer.write(samples.back());
  };
  observer.on_evaluation = [&](int64_t step, const Evaluation& found) { writer.write(to_sample(step, found)); };
  TrainReport report;
  metrics["parameters"] = parameters_of(job.config).count();
  try {
    report = run_train_job(job, observer);
    result["hashes"] = {{"initial_weights", report.initial_weights}, {"final_weights", report.final_weights}};
    if (job.select_best) result["hashes"]["selected_weights"] = report.selected_weights;
    add_test_metrics(report, metrics);
    metrics["host_bytes"] = report.host_bytes;
    if (job.host_weights == HostWeightsKind::aliased) {
      result["warnings"].push_back(
          "host weights are aliased: losses, hashes and host memory mean nothing; on CUDA with registered memory an "
          "allocation stands in for the page tables of the aliases");
    }
    if (job.method != MethodKind::mezo) {
      metrics["arena_bytes"] = report.memory.peak_bytes;
      metrics["library_peak_bytes"] = report.memory.library_peak_bytes;
      metrics["host_pinned_bytes"] = report.memory.pinned_bytes;
      metrics["pin_s"] = report.memory.pin_seconds;
    } else if (job.device == Device::cuda) {
      metrics["allocator_reserved_peak_bytes"] = report.memory.allocator_reserved_peak_bytes;
      metrics["allocator_allocated_peak_bytes"] = report.memory.allocator_allocated_peak_bytes;
    }
  } catch (const DivergedError& error) {
    result["state"] = state_name(State::diverged);
    result["error"] = error.what();
  }
  add_speed_metrics(request.config, samples, tokens, result);
  add_loss_metrics(samples, metrics);
  step_memory.add_to(metrics);
  add_trace_metrics(folder, report, metrics);
  result["chosen"]["device"] = device_name(job.device);
  result["chosen"]["tie_embeddings"] = job.config.tie_embeddings;
  return result;
}

int run_cell(const std::filesystem::path& folder, const TraceWindow& capture) {
  const CellRequest request = read_cell_request(folder);
  Json result;
  try {
    result = config_at(request.config, "engine.project").get<bool>() ? projected_result(request)
                                                                     : trained_result(folder, request, capture);
  } catch (const OutOfMemoryError& error) {
    result = make_result(State::oom, request.config_hash);
    result["error"] = error.what();
  } catch (const std::bad_alloc&) {
    result = make_result(State::oom, request.config_hash);
    result["error"] = "an allocation in host memory failed";
  }
  write_file_atomically(folder / kReportedFile, result.dump(2) + "\n");
  const State state = parse_state(result["state"].get<std::string>());
  if (result.contains("error")) spdlog::error("{}", result["error"].get<std::string>());
  return state == State::ok || state == State::projected ? 0 : 1;
}

}  // namespace

void add_cell(CLI::App& app, int& exit_code) {
  auto folder = std::make_shared<std::string>();
  auto capture = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("cell", "Run one repeat of an experiment in its folder (`zo2 run` does this)");
  command->group("");  // hidden from help
  command->add_option("folder", *folder)->required();
  command->add_option("--capture", *capture, "steps FIRST:END under the NVTX range \"capture\" (`zo2 profile`)");
  command->callback([folder, capture, &exit_code] {
    exit_code = run_cell(*folder, capture->empty() ? TraceWindow{} : parse_steps(*capture));
  });
}

}  // namespace zo2

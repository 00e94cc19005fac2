// One training run from settings to report: what `zo2 train` and a cell of an experiment both do.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "model/plan.h"
#include "optimizer/trainer.h"
#include "runtime/device.h"
#include "task/evaluation.h"

namespace zo2 {

enum class MethodKind : uint8_t {
  zo2,       // tiles stream through the smallest arena, or one of the given budget
  resident,  // the same program, every tile resident
  mezo,      // the textbook baseline
};

std::string_view method_name(MethodKind method);
MethodKind parse_method(std::string_view name);  // throws UsageError

struct TrainJob {
  ModelConfig config;
  std::function<void(HostWeights&)> fill;  // the initial weights
  MethodKind method = MethodKind::zo2;
  Device device = Device::cpu;
  HostWeightsKind host_weights = HostWeightsKind::exact;  // aliased: losses and hashes mean nothing, no folder
  PlanSettings plan;                                      // what the data decides is set from it
  int64_t gpu_memory_bytes = 0;  // a bound on device memory, on CPU on the arena; 0: plan.budget decides
  ExecutorSettings executor;
  TrainerSettings trainer;
  std::unique_ptr<BatchSource> data;
  std::unique_ptr<EvaluationSet> evaluation;    // of w_t every eval_every steps and at the end; may be null
  int64_t eval_every = 0;                       // 0: never
  bool select_best = false;                     // the run ends with the weights whose evaluation had the lowest loss
  std::unique_ptr<EvaluationSet> test;          // of the weights that the run ends with; may be null
  std::optional<std::filesystem::path> folder;  // step log and snapshots; resumes when there is a run in it
  int64_t snapshot_every = 0;                   // 0: never
  // An NVTX range "capture", with the first step as payload, lies around the enqueuing of these steps; the loop pauses
  // at its two ends, so that no other step is in flight there.
  TraceWindow capture;
  std::string log_config;  // free text of the log's header: whatever else must be equal to resume
};

struct TrainObserver {
  std::function<void(const Plan&)> on_plan = [](const Plan&) {};     // not for mezo
  std::function<void(int64_t next_step)> on_start = [](int64_t) {};  // 0, or where a run resumes
  std::function<void(const StepResult&)> on_step = [](const StepResult&) {};
  std::function<void(int64_t next_step, const Evaluation&)> on_evaluation = [](int64_t, const Evaluation&) {};
};

struct TrainReport {
  int64_t first_step = 0;       // where this start began
  std::string initial_weights;  // hashes (store/host_weights.h)
  std::string final_weights;    // of w_t at the end of training
  int64_t selected_step = 0;    // the end of training, or the step whose evaluation was best
  std::string selected_weights;
  std::optional<Evaluation> test;
  MemoryMeter memory;
  std::vector<TraceSpan> trace;  // of executor.trace's steps
  double copies_only_ms = 0;     // a step's copies with nothing computed; measured when steps are traced
  int64_t host_bytes = 0;
};

// Sets batch, seq, labels and evaluation to what the data needs; `evaluation` and `test` may be null.
void fit_to_data(PlanSettings& settings, const BatchSource& training, const EvaluationSet* evaluation,
                 const EvaluationSet* test);

// Runs to trainer.steps, or until trainer.stop_before ends it. `export_weights`, when given, sees the weights that the
// run ends with. Throws what the parts throw.
TrainReport run_train_job(TrainJob& job, const TrainObserver& observer,
                          const std::function<void(const HostWeights&)>& export_weights = nullptr);

}  // namespace zo2

#include "optimizer/train_job.h"

#include <algorithm>

#include "base/error.h"
#include "optimizer/device_budget.h"
#include "optimizer/run_folder.h"
#include "optimizer/textbook_mezo.h"
#include "runtime/nvtx.h"
#include "runtime/replay.h"
#include "store/parallel.h"

namespace zo2 {
namespace {

constexpr MethodKind kMethods[] = {MethodKind::zo2, MethodKind::resident, MethodKind::mezo};

StepLogHeader log_header(const TrainJob& job, const Plan& plan, const std::string& base_hash) {
  StepLogHeader header;
  header.base_hash = base_hash;
  header.parameter_table_hash = parameter_table_hash(plan.table);
  header.dtype = plan.settings.dtype;
  header.writeback_every = static_cast<int>(plan.settings.writeback_every);
  header.rounding = job.executor.rounding == Rounding::nearest ? "nearest" : "stochastic";
  header.noise_version = kNoiseVersion;
  header.noise = distribution_name(job.executor.noise);
  header.pairs = plan.settings.pairs;
  header.eps = static_cast<double>(job.executor.eps);
  header.tile_bytes = plan.any().program.shape.tile_bytes;
  header.config = job.log_config;
  return header;
}

// The steps at which the loop pauses: the device is drained, so that it can be read.
int64_t next_pause(const TrainJob& job, int64_t step) {
  int64_t pause = job.trainer.steps;
  if (job.capture.count > 0) {
    for (int64_t edge : {job.capture.first, job.capture.first + job.capture.count}) {
      if (edge > step) pause = std::min(pause, edge);
    }
  }
  for (int64_t every : {job.snapshot_every, job.evaluation ? job.eval_every : 0}) {
    if (every > 0) pause = std::min(pause, (step / every + 1) * every);
  }
  return pause;
}

class Job {
 public:
  Job(TrainJob& job, const TrainObserver& observer) : job_(job), observer_(observer), end_(job.trainer.steps) {}

  TrainReport run(const std::function<void(const HostWeights&)>& export_weights) {
    prepare();
    const int64_t first = folder_ ? folder_->next_step() : 0;
    report_.first_step = first;
    ZO2_CHECK(first <= end_, UsageError,
              "the run has {} steps already, more than the {} asked for: ask for as many, or take the weights of an "
              "earlier step with `zo2 export --step`",
              first, end_);
    if (folder_) entries_ = folder_->entries();
    executor_->start(first, entries_);
    observer_.on_start(first);
    // A run that was killed between a step and its evaluation, or while its record lacked it.
    if (first > 0) evaluate_at(first);
    Trainer trainer(*executor_, *job_.data, job_.trainer);
    for (int64_t step = first; step < end_;) {
      const int64_t pause = next_pause(job_, step);
      std::optional<NvtxRange> capture;
      if (job_.capture.contains(step)) capture.emplace("capture", static_cast<uint64_t>(step));
      step = trainer.run(step, pause, [&](const StepResult& result) {
        entries_.insert(entries_.end(), result.entries.begin(), result.entries.end());
        if (folder_) folder_->append(result);
        observer_.on_step(result);
      });
      if (step < pause) end_ = step;  // stop_before has ended it
      capture.reset();
      at_pause(step);
    }
    finish(export_weights);
    return report_;
  }

 private:
  void prepare() {
    PlanSettings& settings = job_.plan;
    fit_to_data(settings, *job_.data, job_.evaluation.get(), job_.test.get());
    ZO2_CHECK(!job_.select_best || (job_.evaluation && job_.eval_every > 0), UsageError,
              "selecting the best weights needs evaluations: set train.eval_every, and data to evaluate on");
    job_.executor.rounded_noise = settings.scheme.noise_buffer;
    settings.graphs = settings.graphs && job_.device == Device::cuda;
    if (job_.method == MethodKind::resident) settings.budget.bytes = ArenaBudget::kAll;
    ZO2_CHECK(!job_.folder || job_.host_weights == HostWeightsKind::exact, UsageError,
              "aliased host weights hold no state to resume from: leave the folder out, or set engine.host_weights: "
              "exact");
    ZO2_CHECK(
        !job_.select_best || job_.host_weights == HostWeightsKind::exact, UsageError,
        "the losses of aliased host weights mean nothing, so there are no best weights: set train.select: last, or "
        "engine.host_weights: exact");
    // On CUDA a bound is on all device memory, so the arena's share of it is found out first.
    const bool bounded = job_.gpu_memory_bytes > 0 && job_.method == MethodKind::zo2;
    const int64_t idle_bytes = bounded && job_.device == Device::cuda ? device_memory_in_use().value_or(0) : 0;
    const AttentionWorkspace workspace = measured_attention(job_.device, settings.dtype, job_.executor.threads);
    plan_ = make_plan(job_.config, settings, workspace);
    weights_.emplace(plan_.table, settings.dtype, job_.host_weights);
    if (job_.select_best) best_weights_.emplace(plan_.table, settings.dtype);
    // Filling touches shared memory in one of its mappings only.
    if (job_.host_weights == HostWeightsKind::aliased) weights_->touch(hardware_threads());
    job_.fill(*weights_);
    report_.initial_weights = weights_hash(*weights_);
    report_.host_bytes = weights_->total_bytes();
    if (bounded) {
      settings.budget.bytes =
          job_.device == Device::cpu ? job_.gpu_memory_bytes : arena_budget(job_, plan_, *weights_, idle_bytes);
      plan_ = make_plan(job_.config, settings, workspace);
    }
    if (job_.test && job_.test->generation().batch > 0 && job_.method != MethodKind::mezo) {
      answers_plan_ = plan_answers(plan_, job_.test->generation(), workspace);
    }
    if (job_.method == MethodKind::mezo) {
      ZO2_CHECK(!job_.folder, UsageError, "method mezo cannot resume, so it writes no step log: leave the folder out");
      ZO2_CHECK(settings.pairs == 1 && job_.trainer.micro_batches == 1, UsageError,
                "method mezo has one perturbation and one pass a step");
      make_executor_of_weights();
      return;
    }
    observer_.on_plan(plan_);
    if (job_.folder) {
      folder_.emplace(*job_.folder, log_header(job_, plan_, report_.initial_weights), plan_.commits, job_.executor,
                      *weights_);
      best_ = folder_->best().value_or(best_);
    }
    make_executor_of_weights();
  }

  void make_executor_of_weights() {
    executor_ = job_.method == MethodKind::mezo
                    ? make_textbook_mezo(job_.device, job_.config, *weights_, job_.executor, plan_.settings.objective)
                    : make_executor(job_.device, plan_, *weights_, job_.executor);
  }

  void at_pause(int64_t step) {
    const bool last = step == end_;
    if (folder_ && job_.snapshot_every > 0 && (step % job_.snapshot_every == 0 || last)) {
      executor_->sync_host();
      folder_->write_snapshot(step, *weights_);
    }
    evaluate_at(step);
  }

  void evaluate_at(int64_t step) {
    const bool last = step == end_;
    if (!job_.evaluation || !(last || (job_.eval_every > 0 && step % job_.eval_every == 0))) return;
    const Evaluation found = evaluate(*job_.evaluation);
    observer_.on_evaluation(step, found);
    if (job_.select_best) consider(step, found.loss);
  }

  Evaluation evaluate(const EvaluationSet& set) { return set.evaluate(*executor_); }

  // Keeps a copy of w_t when its loss is the lowest so far; of equal ones the first. A loss that is not finite never
  // is.
  void consider(int64_t step, double loss) {
    if (!(loss < best_.loss)) return;
    best_ = {step, loss};
    if (folder_) folder_->write_best(best_);
    executor_->sync_host();
    copy_weights(*weights_, *best_weights_);
    fold(*best_weights_, step);
    best_weights_step_ = step;
  }

  void fold(HostWeights& weights, int64_t step) {
    if (job_.method == MethodKind::mezo) return;  // its weights are w_t as they are
    fold_pending(weights, plan_.commits, job_.executor, entries_, plan_.settings.pairs, step);
  }

  // The weights that the run ends with take the place of the last ones.
  void select() {
    report_.selected_step = end_;
    report_.selected_weights = report_.final_weights;
    if (!job_.select_best || best_.step == 0) return;
    report_.selected_step = best_.step;
    if (best_weights_step_ == best_.step) {
      copy_weights(*best_weights_, *weights_);
    } else {  // evaluated before this start: made again from the log
      job_.fill(*weights_);
      replay_weights(job_.device, *weights_, plan_.commits, job_.executor, entries_, plan_.settings.pairs, 0,
                     best_.step);
    }
    report_.selected_weights = weights_hash(*weights_);
  }

  void finish(const std::function<void(const HostWeights&)>& export_weights) {
    executor_->sync_host();
    report_.memory = executor_->memory();
    if (job_.executor.trace.count > 0) {
      report_.trace = executor_->trace();
      report_.copies_only_ms =
          executor_->copies_only_ms(static_cast<int>(std::max<int64_t>(2, job_.plan.writeback_every)));
    }
    executor_.reset();
    fold(*weights_, end_);
    report_.final_weights = weights_hash(*weights_);
    select();
    if (job_.test) {
      if (answers_plan_) plan_ = std::move(*answers_plan_);
      make_executor_of_weights();
      executor_->start(0, {});
      report_.test = evaluate(*job_.test);
      const MemoryMeter tested = executor_->memory();
      report_.memory.planned_bytes = std::max(report_.memory.planned_bytes, tested.planned_bytes);
      report_.memory.peak_bytes = std::max(report_.memory.peak_bytes, tested.peak_bytes);
      executor_.reset();
    }
    if (export_weights) export_weights(*weights_);
  }

  TrainJob& job_;
  const TrainObserver& observer_;
  int64_t end_;  // the step after the last one
  Plan plan_;
  std::optional<Plan> answers_plan_;  // for the test, where it generates
  std::optional<HostWeights> weights_;
  std::optional<RunFolder> folder_;
  std::unique_ptr<Executor> executor_;
  BestEvaluation best_;
  std::optional<HostWeights> best_weights_;  // w_t of best_weights_step_, with select_best
  int64_t best_weights_step_ = 0;            // 0: this start has seen no best one
  std::vector<LogEntry> entries_;            // all of the run, so that any pending ones are there
  TrainReport report_;
};

}  // namespace

std::string_view method_name(MethodKind method) {
  return method == MethodKind::zo2 ? "zo2" : method == MethodKind::resident ? "resident" : "mezo";
}

MethodKind parse_method(std::string_view name) {
  for (MethodKind method : kMethods) {
    if (name == method_name(method)) return method;
  }
  throw UsageError(fmt::format("unknown method '{}': known are zo2, resident, mezo", name));
}

void fit_to_data(PlanSettings& settings, const BatchSource& training, const EvaluationSet* evaluation,
                 const EvaluationSet* test) {
  settings.batch = training.batch_size();
  settings.seq = training.longest();
  settings.labels = training.labels();
  settings.evaluation = false;
  for (const EvaluationSet* set : {evaluation, test}) {
    if (set == nullptr) continue;
    settings.batch = std::max(settings.batch, set->batch_size());
    settings.seq = std::max(settings.seq, set->longest());
    settings.labels = std::max(settings.labels, set->labels());
    settings.evaluation = true;
  }
}

TrainReport run_train_job(TrainJob& job, const TrainObserver& observer,
                          const std::function<void(const HostWeights&)>& export_weights) {
  return Job(job, observer).run(export_weights);
}

}  // namespace zo2

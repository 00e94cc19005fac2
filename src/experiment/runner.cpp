#include "experiment/runner.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <optional>

#include "base/error.h"
#include "experiment/comparable.h"
#include "experiment/config_schema.h"
#include "experiment/environment.h"
#include "experiment/external.h"
#include "experiment/gpu_lock.h"
#include "experiment/gpu_sampler.h"
#include "experiment/gpu_wait.h"
#include "experiment/process.h"
#include "experiment/progress.h"
#include "experiment/repeat_result.h"
#include "experiment/sweep_folder.h"

namespace zo2 {
namespace {

namespace fs = std::filesystem;

constexpr uintmax_t kLeastSpaceBytes = 64 << 10;

std::string utc_now() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm fields{};
  gmtime_r(&now, &fields);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &fields);
  return text;
}

// null without a GPU.
Json gpu_name(const Json& environment) {
  const Json gpu = environment.value("gpu", Json());
  return gpu.is_null() ? gpu : gpu.at("name");
}

class Runner {
 public:
  Runner(const Experiment& experiment, const RunOptions& options)
      : experiment_(experiment),
        options_(options),
        repeats_(checked(experiment, select_repeats(experiment, options.selection))),
        outcomes_(repeats_.size()),
        command_(options.child),
        nvml_(Nvml::open()),
        gpu_(nvml_.visible_device()),
        folder_(options.out, experiment, options.selection.shard.count > 1) {
    if (command_.empty()) command_ = {self_executable().string(), "cell"};
    if (gpu_) gpu_wait_.emplace(*gpu_, options.gpu_wait_s);
    environment_ = describe_environment(command_[0], nvml_);
  }

  RunSummary run() {
    bool interrupted = false;
    Progress progress(static_cast<int>(repeats_.size()), options_.quiet);
    for (size_t i = 0; i < repeats_.size(); ++i) {
      const Cell& cell = cell_of(repeats_[i]);
      const fs::path& cell_folder = folder_.cell_folder(cell);
      if (is_untidy(cell_folder, repeats_[i].repeat)) continue;  // looked at again once it is locked
      const fs::path folder = record_path(cell_folder, repeats_[i].repeat);
      if (const auto record = reusable(cell, folder)) {
        outcomes_[i] = RepeatOutcome{folder, record->state, true};
        progress.reuse(record->state);
      }
    }
    progress.begin_sweep();
    for (size_t i = 0; i < repeats_.size() && !interrupted; ++i) {
      if (outcomes_[i]) continue;
      if (InterruptGuard::received() == 0) outcomes_[i] = run_repeat(repeats_[i], progress);
      interrupted = !outcomes_[i] || outcomes_[i]->state == State::interrupted;
    }
    RunSummary summary{.repeats = {}, .interrupted = interrupted};
    for (const auto& outcome : outcomes_) {
      if (outcome) summary.repeats.push_back(*outcome);
    }
    return summary;
  }

 private:
  // Refuses a bad command before anything is written.
  static std::vector<Turn> checked(const Experiment& experiment, std::vector<Turn> repeats) {
    for (const Turn& turn : repeats) {
      const Cell& cell = experiment.cells[turn.cell];
      if (is_external(cell.config) && !cell.skip_reason) external_command(cell.config);
    }
    return repeats;
  }
  const Cell& cell_of(const Turn& turn) const { return experiment_.cells[turn.cell]; }

  // nullopt when interrupted before it began.
  std::optional<RepeatOutcome> run_repeat(const Turn& turn, Progress& progress) {
    const Cell& cell = cell_of(turn);
    const auto folder = RepeatFolder::lock(folder_.cell_folder(cell), turn.repeat, [&] {
      tell_of_waiting(told_of_other_, fmt::format("{} r{}: another run is at it", cell.slug, turn.repeat));
      return InterruptGuard::received() == 0;
    });
    if (!folder) return std::nullopt;
    if (const auto record = reusable(cell, folder->record())) {  // it was untidy, or another shard was faster
      progress.end(cell.slug, turn.repeat, record->result);
      return RepeatOutcome{folder->record(), record->state, true};
    }
    std::optional<File> gpu_lock;
    if (watches_gpu(cell)) {
      gpu_lock = lock_gpu(*gpu_, [this] {
        tell_of_waiting(told_of_gpu_, fmt::format("waiting for GPU {}: another run is using it", name_of_gpu()));
        return InterruptGuard::received() == 0;
      });
      if (!gpu_lock) return std::nullopt;
    }
    const std::optional<Json> result = measure(cell, turn.repeat, *folder, progress);
    if (!result) {
      folder->discard();
      return std::nullopt;
    }
    const State state = parse_state(result->at("state").get<std::string>());
    // What fails for want of room says nothing about the cell.
    ZO2_CHECK(!is_failure(state) || fs::space(options_.out).available >= kLeastSpaceBytes, IoError,
              "the disk of {} is full", options_.out.string());
    write_result(folder->attempt(), *result);
    if (state == State::interrupted && fs::exists(folder->record())) {
      folder->discard();
    } else {
      folder->accept();
    }
    progress.end(cell.slug, turn.repeat, *result);
    return RepeatOutcome{folder->record(), state, false};
  }

  // An attempt, and a second one when the GPU was throttled.
  std::optional<Json> measure(const Cell& cell, int repeat, const RepeatFolder& folder, Progress& progress) {
    const auto throttled = [](const std::optional<Json>& result) {
      return result && result->at("state") == state_name(State::ok) && was_throttled(*result);
    };
    std::optional<Json> result = attempt(cell, repeat, folder, progress);
    if (!throttled(result)) return result;
    tell(fmt::format("{} r{}: the GPU was throttled; running it once more", cell.slug, repeat));
    result = attempt(cell, repeat, folder, progress);
    if (result) result->at("warnings").push_back("the GPU was throttled in a first attempt; this is the second");
    if (throttled(result)) {
      (*result)["state"] = state_name(State::throttled);
      (*result)["error"] =
          fmt::format("the GPU was throttled twice ({}): see to its cooling and power, then --retry-failed",
                      result->at("throttle_reasons").dump());
    }
    return result;
  }

  // Runs the repeat in the attempt's folder and leaves there all but the result. nullopt when interrupted before it
  // began.
  std::optional<Json> attempt(const Cell& cell, int repeat, const RepeatFolder& folder, Progress& progress) {
    folder.begin();
    const CellRequest request{experiment_.manifest.name, cell.slug, repeat, cell.config_hash, cell.config};
    write_file_atomically(folder.attempt() / "config.json", to_json(request).dump(2) + "\n");
    write_file_atomically(folder.attempt() / "env.json", environment_of(cell).dump(2) + "\n");
    if (cell.skip_reason) {
      Json result = make_result(State::skipped, cell.config_hash);
      result["reason"] = *cell.skip_reason;
      return result;
    }
    std::optional<GpuWait::Outcome> wait;
    if (watches_gpu(cell)) {
      wait = gpu_wait_->operator()([this] {
        tell_of_waiting(told_of_heat_, fmt::format("waiting until GPU {} is free and cool", name_of_gpu()));
        return InterruptGuard::received() == 0;
      });
      if (!wait) return std::nullopt;
    }
    const std::string started = utc_now();
    progress.begin(cell.slug, repeat, folder.attempt(), config_at(cell.config, "train.steps").get<int64_t>());
    Json result = run_child(cell, folder.attempt(), progress);
    result["started_utc"] = started;
    if (wait && device_of(result, cell.config) != "cpu") add_gpu_wait(*wait, result);
    return result;
  }

  Json run_child(const Cell& cell, const fs::path& folder, Progress& progress) {
    const ProcessSpec spec{.command = command_of(cell, folder),
                           .stdout_path = folder / "stdout.log",
                           .stderr_path = folder / "stderr.log",
                           .timeout_s = experiment_.manifest.timeout_s,
                           .grace_s = options_.grace_s};
    std::optional<GpuSampler> sampler;
    if (watches_gpu(cell)) sampler.emplace(*gpu_);
    Json result = watch(spec, cell, folder, progress);
    fs::remove(folder / kReportedFile);
    const std::string device = device_of(result, cell.config);
    if (sampler) {
      const GpuReadings readings = sampler->stop();
      if (device != "cpu") add_gpu_readings(readings, result);
    } else if (device == "cuda") {
      const std::string reason = nvml_.reason().empty() ? "NVML shows no visible GPU" : nvml_.reason();
      result["warnings"].push_back(fmt::format("the GPU was not watched: {}", reason));
    }
    return result;
  }

  static Json watch(const ProcessSpec& spec, const Cell& cell, const fs::path& folder, Progress& progress) {
    try {
      const ProcessResult process = run_process(spec, [&] { progress.tick(); });
      if (is_external(cell.config)) report_external(folder, cell.config, cell.config_hash, process);
      return result_of(folder, cell.config_hash, process);
    } catch (const IoError& error) {
      if (!is_external(cell.config)) throw;  // our own program: no cell could be run
      Json result = make_result(State::crashed, cell.config_hash);
      result["error"] = error.what();
      return result;
    }
  }

  std::vector<std::string> command_of(const Cell& cell, const fs::path& folder) const {
    if (is_external(cell.config) && !cell.skip_reason) return external_command(cell.config);
    std::vector<std::string> command = command_;
    command.push_back(folder.string());
    return command;
  }

  // What runs an external cell is its command, whichever build of ours measures it.
  Json environment_of(const Cell& cell) const {
    Json environment = environment_;
    if (is_external(cell.config) && !cell.skip_reason) {
      environment["binary_sha256"] = external_sha256(external_command(cell.config));
    }
    return environment;
  }

  // `auto` may choose the GPU where there is one; only the child knows.
  bool watches_gpu(const Cell& cell) const {
    return gpu_ && !cell.skip_reason && config_at(cell.config, "engine.device") != "cpu" &&
           !config_at(cell.config, "engine.project").get<bool>();
  }

  std::string name_of_gpu() const { return gpu_->name().value_or(""); }

  void tell(const std::string& what) const {
    if (!options_.quiet) spdlog::info("{}", what);
  }
  void tell_of_waiting(bool& told, const std::string& what) const {
    if (!told) tell(what);
    told = true;
  }

  std::optional<Record> reusable(const Cell& cell, const fs::path& folder) const {
    try {
      auto record = read_record(folder);
      if (!record || record->request.config_hash != cell.config_hash) return std::nullopt;
      const State state = record->state;
      if (state == State::interrupted) return std::nullopt;
      if (cell.skip_reason) {  // what was measured before it was excluded is kept; readers leave it out
        const bool stands = has_figures(state) || record->result.value("reason", "") == *cell.skip_reason;
        return stands ? std::move(record) : std::nullopt;
      }
      if (options_.rerun || state == State::skipped) return std::nullopt;
      if (options_.retry_failed && is_failure(state)) return std::nullopt;
      const Json& environment = record->environment;
      if (!options_.accept_build && environment.at("binary_sha256") != environment_of(cell).at("binary_sha256")) {
        return std::nullopt;
      }
      // A GPU's numbers are those of its model; a run on CPU and a forecast are the same beside any.
      const bool on_gpu = state != State::projected && device_of(record->result, cell.config) != "cpu";
      if (on_gpu && gpu_name(environment) != gpu_name(environment_)) return std::nullopt;
      return record;
    } catch (const std::exception&) {  // unreadable: run it again
      return std::nullopt;
    }
  }

  const InterruptGuard guard_;
  const Experiment& experiment_;
  const RunOptions& options_;
  std::vector<Turn> repeats_;
  std::vector<std::optional<RepeatOutcome>> outcomes_;  // of repeats_
  std::vector<std::string> command_;
  Nvml nvml_;
  std::optional<NvmlDevice> gpu_;  // the one that children use
  std::optional<GpuWait> gpu_wait_;
  bool told_of_gpu_ = false;
  bool told_of_heat_ = false;
  bool told_of_other_ = false;
  Json environment_;
  SweepFolder folder_;
};

}  // namespace

int RunSummary::count(State state) const {
  return static_cast<int>(std::ranges::count(repeats, state, &RepeatOutcome::state));
}

int RunSummary::exit_code() const {
  if (interrupted) return 130;
  return std::ranges::any_of(repeats, is_failure, &RepeatOutcome::state) ? 3 : 0;
}

RunSummary run_experiment(const Experiment& experiment, const RunOptions& options) {
  Runner runner(experiment, options);
  try {
    return runner.run();
  } catch (const IoError& error) {
    throw IoError(fmt::format("{}\nwhat is recorded stays: once that is mended, the same command goes on from there",
                              error.what()));
  }
}

}  // namespace zo2

#include "experiment/runner.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <deque>
#include <fstream>
#include <map>

#include "base/error.h"
#include "experiment/config_schema.h"
#include "experiment/environment.h"
#include "experiment/gpu_lock.h"
#include "experiment/gpu_sampler.h"
#include "experiment/process.h"
#include "experiment/progress.h"

namespace zo2 {
namespace {

namespace fs = std::filesystem;

constexpr size_t kTailLines = 20;

// Keeps a second runner out of the same folder for as long as it lives.
class FolderLock {
 public:
  explicit FolderLock(const fs::path& dir)
      : descriptor_(open((dir / ".lock").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0644)) {
    ZO2_CHECK(descriptor_ >= 0, IoError, "cannot write to {}", dir.string());
    if (flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
      close(descriptor_);
      throw IoError(fmt::format("another run is using {}: wait for it, or choose another --out", dir.string()));
    }
  }
  ~FolderLock() { close(descriptor_); }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int descriptor_;
};

std::string last_lines(const fs::path& path) {
  std::ifstream stream(path);
  std::deque<std::string> lines;
  std::string line;
  while (std::getline(stream, line)) {
    lines.push_back(line.substr(0, 500));
    if (lines.size() > kTailLines) lines.pop_front();
  }
  return fmt::format("{}", fmt::join(lines, "\n"));
}

std::string utc_now() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm fields{};
  gmtime_r(&now, &fields);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &fields);
  return text;
}

// The folders of cells that are there already, by full config hash: a cell keeps its folder when its slug changes.
std::map<std::string, fs::path> existing_cells(const fs::path& cells) {
  std::map<std::string, fs::path> folders;
  for (const auto& cell : fs::directory_iterator(cells)) {
    if (!cell.is_directory()) continue;
    for (const auto& repeat : fs::directory_iterator(cell.path())) {
      if (!fs::exists(repeat.path() / "config.json")) continue;
      try {
        folders.emplace(read_cell_request(repeat.path()).config_hash, cell.path());
      } catch (const Error&) {  // a torn or foreign file: not a cell of ours
      }
      break;
    }
  }
  return folders;
}

// What the child said and how it ended, as one result.
Json combine(const fs::path& folder, const std::string& config_hash, const ProcessResult& process) {
  Json result;
  State state = State::crashed;
  std::string error;
  try {
    if (fs::exists(folder / "result.json")) {
      result = read_json(folder / "result.json");
      state = parse_state(result.at("state").get<std::string>());
    }
  } catch (const std::exception& problem) {
    result = Json();
    error = fmt::format("its result cannot be read: {}", problem.what());
  }
  const bool has_result = !result.is_null();
  const bool good = has_result && (state == State::ok || state == State::projected);
  const bool clean_exit = process.exit_code == 0;
  if (!(good && clean_exit)) {
    if (process.interrupted) {
      state = State::interrupted;
      error = "interrupted";
    } else if (process.timed_out) {
      state = State::timeout;
      error = fmt::format("stopped after {:.1f} s", process.wall_s);
    } else if (process.kernel_oom) {
      state = State::oom;
      error = "the kernel killed it: the machine ran out of memory";
    } else if (process.signal != 0) {
      state = State::crashed;
      error = fmt::format("ended by {}", signal_name(process.signal));
    } else if (!has_result || good) {
      state = State::crashed;
      if (error.empty()) {
        error = clean_exit ? "ended without a result" : fmt::format("ended with exit code {}", process.exit_code);
      }
    }
  }
  if (!has_result) result = make_result(state, config_hash);
  result["state"] = state_name(state);
  result["config_hash"] = config_hash;
  if (state != State::ok && state != State::projected) {
    if (!error.empty()) result["error"] = error;
    if (const std::string tail = last_lines(folder / "stderr.log"); !tail.empty()) result["stderr_tail"] = tail;
    if (process.signal != 0) result["signal"] = signal_name(process.signal);
  }
  result["exit_code"] = process.exit_code;
  result["metrics"]["wall_s"] = process.wall_s;
  result["metrics"]["host_rss_peak_bytes"] = process.rss_peak_bytes;
  return result;
}

// Where a child ran, "cpu" or "cuda"; what it was asked when it did not say.
std::string device_of(const Json& result, const Json& config) {
  const Json chosen = result.value("chosen", Json::object());
  return chosen.value("device", config_at(config, "engine.device").get<std::string>());
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
        command_(options.child),
        nvml_(Nvml::open()),
        gpu_(nvml_.visible_device()) {
    if (command_.empty()) command_ = {self_executable().string(), "cell"};
    const fs::path cells = options.out / "cells";
    std::error_code error;
    fs::create_directories(cells, error);
    ZO2_CHECK(!error, IoError, "cannot make the folder {}: {}", cells.string(), error.message());
    environment_ = describe_environment(command_[0], nvml_);
    folders_ = existing_cells(cells);
    for (const Cell& cell : experiment.cells) folders_.emplace(cell.config_hash, cells / cell.folder_name());
  }

  RunSummary run() {
    const FolderLock lock(options_.out);
    const InterruptGuard guard;
    write_file_atomically(options_.out / "experiment.json", to_json(experiment_).dump(2) + "\n");
    RunSummary summary;
    const std::vector<Turn> order = turns(experiment_);
    Progress progress(static_cast<int>(order.size()), options_.quiet);
    for (const Turn& turn : order) {
      summary.interrupted = summary.interrupted || InterruptGuard::received() != 0;
      if (summary.interrupted) return summary;
      const std::optional<RepeatOutcome> outcome = run_repeat(experiment_.cells[turn.cell], turn.repeat, progress);
      if (outcome) summary.repeats.push_back(*outcome);
      summary.interrupted = !outcome || outcome->state == State::interrupted;
    }
    return summary;
  }

 private:
  // nullopt when interrupted before it began.
  std::optional<RepeatOutcome> run_repeat(const Cell& cell, int repeat, Progress& progress) {
    const fs::path folder = folders_.at(cell.config_hash) / fmt::format("r{}", repeat);
    if (auto finished = reusable(cell, folder)) {
      progress.end(cell.slug, repeat, finished->result, true);
      return RepeatOutcome{folder, finished->state, true};
    }
    std::optional<File> gpu_lock;
    if (watches_gpu(cell)) {
      gpu_lock = lock_gpu(*gpu_, [this] { return keep_waiting(); });
      if (!gpu_lock) return std::nullopt;
    }
    prepare(cell, repeat, folder);
    Json result;
    if (cell.skip_reason) {
      result = make_result(State::skipped, cell.config_hash);
      result["reason"] = *cell.skip_reason;
    } else {
      const std::string started = utc_now();
      progress.begin(cell.slug, repeat, folder, config_at(cell.config, "train.steps").get<int64_t>());
      result = run_child(cell, folder, progress);
      result["started_utc"] = started;
    }
    write_result(folder, result);
    progress.end(cell.slug, repeat, result, false);
    return RepeatOutcome{folder, parse_state(result["state"].get<std::string>()), false};
  }

  Json run_child(const Cell& cell, const fs::path& folder, Progress& progress) {
    ProcessSpec spec{.command = command_,
                     .stdout_path = folder / "stdout.log",
                     .stderr_path = folder / "stderr.log",
                     .timeout_s = experiment_.manifest.timeout_s,
                     .grace_s = options_.grace_s};
    spec.command.push_back(folder.string());
    std::optional<GpuSampler> sampler;
    if (watches_gpu(cell)) sampler.emplace(*gpu_);
    Json result = combine(folder, cell.config_hash, run_process(spec, [&] { progress.tick(); }));
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

  // `auto` may choose the GPU where there is one; only the child knows.
  bool watches_gpu(const Cell& cell) const {
    return gpu_ && !cell.skip_reason && config_at(cell.config, "engine.device") != "cpu" &&
           !config_at(cell.config, "engine.project").get<bool>();
  }

  bool keep_waiting() {
    if (!told_of_waiting_ && !options_.quiet) {
      spdlog::info("waiting for GPU {}: another run is using it", gpu_->name().value_or(""));
    }
    told_of_waiting_ = true;
    return InterruptGuard::received() == 0;
  }

  std::optional<Record> reusable(const Cell& cell, const fs::path& folder) const {
    try {
      auto record = read_record(folder);
      if (!record || cell.skip_reason || record->request.config_hash != cell.config_hash) return std::nullopt;
      if (record->state != State::ok && record->state != State::projected) return std::nullopt;
      const Json environment = read_json(folder / "env.json");
      if (environment.at("binary_sha256") != environment_.at("binary_sha256")) return std::nullopt;
      // A GPU's numbers are those of its model; a run on CPU and a forecast are the same beside any.
      const bool on_gpu = record->state != State::projected && device_of(record->result, cell.config) == "cuda";
      if (on_gpu && gpu_name(environment) != gpu_name(environment_)) return std::nullopt;
      return record;
    } catch (const std::exception&) {  // unreadable: run it again
      return std::nullopt;
    }
  }

  // An empty folder but for what the child needs. The old result goes first: a folder with one is never half-new.
  void prepare(const Cell& cell, int repeat, const fs::path& folder) const {
    std::error_code error;
    fs::create_directories(folder, error);
    ZO2_CHECK(!error, IoError, "cannot make the folder {}: {}", folder.string(), error.message());
    fs::remove(folder / "result.json");
    for (const char* name : {"samples.jsonl", "stdout.log", "stderr.log"}) fs::remove(folder / name);
    const CellRequest request{experiment_.manifest.name, cell.slug, repeat, cell.config_hash, cell.config};
    write_file_atomically(folder / "config.json", to_json(request).dump(2) + "\n");
    write_file_atomically(folder / "env.json", environment_.dump(2) + "\n");
  }

  const Experiment& experiment_;
  const RunOptions& options_;
  std::vector<std::string> command_;
  Nvml nvml_;
  std::optional<NvmlDevice> gpu_;  // the one that children use
  bool told_of_waiting_ = false;
  Json environment_;
  std::map<std::string, fs::path> folders_;  // by config hash
};

}  // namespace

int RunSummary::count(State state) const {
  return static_cast<int>(std::ranges::count(repeats, state, &RepeatOutcome::state));
}

int RunSummary::exit_code() const {
  if (interrupted) return 130;
  const bool failed = std::ranges::any_of(repeats, [](const RepeatOutcome& outcome) {
    return outcome.state != State::ok && outcome.state != State::projected && outcome.state != State::skipped;
  });
  return failed ? 3 : 0;
}

RunSummary run_experiment(const Experiment& experiment, const RunOptions& options) {
  return Runner(experiment, options).run();
}

void die_with_parent() { prctl(PR_SET_PDEATHSIG, SIGKILL); }

}  // namespace zo2

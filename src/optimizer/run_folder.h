// A training run on disk: the step log and snapshots, and how a killed run goes on.
//
//   RUN/config.json          {"config"}: what `zo2 train` ran, written before the first step (cli/train.cpp)
//   RUN/step.log             every step (store/step_log.h); the base weights and this log are the whole state
//   RUN/best.json            {"step", "loss"}: the best evaluation, where the run selects its weights by one
//   RUN/snapshot-00000040/   committed bases at a step boundary (store/snapshot.h)
//   RUN/result.json          what came of it, with hashes of the weights; written last (cli/train.cpp)
#pragma once

#include <filesystem>
#include <limits>
#include <optional>
#include <vector>

#include "program/commit.h"
#include "runtime/executor.h"
#include "store/step_log.h"

namespace zo2 {

inline constexpr const char* kStepLogFile = "step.log";
inline constexpr const char* kRunConfigFile = "config.json";
inline constexpr const char* kRunResultFile = "result.json";

// The evaluation with the lowest loss so far.
struct BestEvaluation {
  int64_t step = 0;  // the first step that the weights have not seen; 0: there was none
  double loss = std::numeric_limits<double>::infinity();
};

// RUN/best.json; nullopt when there is none. Throws UsageError when it cannot be used.
std::optional<BestEvaluation> read_best(const std::filesystem::path& folder);

class RunFolder {
 public:
  // Opens or creates. `weights` hold the initial weights; on return they hold the bases of next_step(): the newest
  // snapshot's, or the initial ones, with the commits that the log has since replayed. Throws UsageError when the
  // folder holds a run of another configuration (the message lists what differs).
  RunFolder(std::filesystem::path folder, const StepLogHeader& header, const std::vector<CommitRule>& commits,
            const ExecutorSettings& settings, HostWeights& weights);

  int64_t next_step() const { return next_step_; }
  const std::vector<LogEntry>& entries() const { return entries_; }  // of the steps before this start

  void append(const StepResult& result) { log_.append(result.entries); }
  // RUN/best.json; nullopt when there is none, or when it is of a step that the log has lost.
  std::optional<BestEvaluation> best() const;
  // The log is synced before: the step that it names must be there.
  void write_best(const BestEvaluation& best);

  // `weights` hold the bases of next_step. The log is synced before the snapshot is written.
  void write_snapshot(int64_t next_step, const HostWeights& weights);

 private:
  std::filesystem::path folder_;
  StepLogWriter log_;
  std::vector<LogEntry> entries_;
  int64_t next_step_ = 0;
};

}  // namespace zo2

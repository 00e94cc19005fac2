// Runs the repeats of an experiment, each in a process of its own, one at a time, and leaves a record for each
// (record.h). A repeat that runs out of memory, hangs or crashes is a record too, and the sweep goes on.
//
// Repeats run in the order of turns() (manifest.h).
//
// What is there already is reused when config_hash, the program's SHA-256 and, for what may have run on a GPU, the
// GPU's name are the same. That holds for failures as well (oom, timeout, crashed, diverged, throttled): they are
// results, and the same program would most likely fail again. `interrupted` is no result and always runs again. An old
// record stays until the new one is complete, and an interrupted attempt never replaces it (sweep_folder.h).
//
// Several runners may work on one folder at the same time when each has a shard; no repeat is run twice at once.
//
// A repeat that may use the GPU holds it against other runners (gpu_lock.h), waits until it is free and cool
// (gpu_wait.h), and is watched from a thread of its own (gpu_sampler.h). One that was throttled is run once more; when
// that is throttled too, its state says so: its samples and its memory count, its speed does not. SIGINT and SIGTERM
// are handled while the runner runs; it restores the handlers.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "experiment/manifest.h"
#include "experiment/record.h"
#include "experiment/selection.h"

namespace zo2 {

struct RunOptions {
  std::filesystem::path out{};
  // The program that runs one repeat: absolute path and first arguments; the repeat's folder is appended.
  // Empty: this program with the subcommand `cell`.
  std::vector<std::string> child{};
  Selection selection{};
  bool rerun = false;         // everything that is selected, finished or not
  bool retry_failed = false;  // what failed before, too
  bool accept_build = false;  // reuse what another build of the program has measured
  double gpu_wait_s = 60;     // most time that a GPU gets before a repeat to become free and cool (gpu_wait.h)
  // Seconds between asking a process to stop (timeout, interruption) and killing it.
  double grace_s = 10;
  bool quiet = false;  // nothing on standard error
};

struct RepeatOutcome {
  std::filesystem::path folder;
  State state = State::ok;
  bool reused = false;
};

struct RunSummary {
  std::vector<RepeatOutcome> repeats;  // those that have ended, in running order
  bool interrupted = false;

  int count(State state) const;
  // 0 fine, 3 some repeats failed, 130 interrupted.
  int exit_code() const;
};

// Throws UsageError when the selection is wrong, and IoError when the output cannot be written: what is written stays,
// and the same call goes on from there. The process that runs a repeat gets standard input from /dev/null and a process
// group of its own, and is killed when this one dies.
RunSummary run_experiment(const Experiment& experiment, const RunOptions& options);

}  // namespace zo2

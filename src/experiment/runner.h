// Runs the repeats of an experiment, each in a process of its own, one at a time, and leaves a record for each
// (record.h). A repeat that runs out of memory, hangs or crashes is a record too, and the sweep goes on.
//
// Repeats run in the order of turns() (manifest.h). A repeat is reused when its result is ok or projected and
// config_hash, the program's SHA-256 and, for one that ran on a GPU, the GPU's name are the same. A repeat that may use
// the GPU holds it against other runners (gpu_lock.h), and is watched from a thread of its own (gpu_sampler.h). SIGINT
// and SIGTERM are handled while the runner runs; it restores the handlers.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "experiment/manifest.h"
#include "experiment/record.h"

namespace zo2 {

struct RunOptions {
  std::filesystem::path out;
  // The program that runs one repeat: absolute path and first arguments; the repeat's folder is appended.
  // Empty: this program with the subcommand `cell`.
  std::vector<std::string> child;
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
  std::vector<RepeatOutcome> repeats;  // those that have ended, in the order run
  bool interrupted = false;

  int count(State state) const;
  // 0 fine, 3 some repeats failed, 130 interrupted.
  int exit_code() const;
};

// Throws IoError when the output cannot be written. The process that runs a repeat gets standard input from /dev/null
// and a process group of its own, and is expected to call die_with_parent().
RunSummary run_experiment(const Experiment& experiment, const RunOptions& options);

// Asks the kernel to kill this process when the one that started it dies, so that a killed sweep leaves nothing behind.
void die_with_parent();

}  // namespace zo2

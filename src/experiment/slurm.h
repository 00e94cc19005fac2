// A Slurm script that runs a sweep as a job array, a shard a task, and then reports it.
#pragma once

#include <string>
#include <vector>

namespace zo2 {

struct SlurmJob {
  std::string name;     // of the experiment
  std::string program;  // absolute paths
  std::string folder;   // where the tasks start
  std::string out;
  std::vector<std::string> arguments;  // of `zo2 run`, but for --out and --shard
  int shards = 1;
  std::string time;                       // of a task, as sbatch has it; empty: the cluster's default
  std::string gres;                       // the same
  std::vector<std::string> directives{};  // further ones, as sbatch takes them: "--partition=gpu"
};

// The script's text. `bash SCRIPT` submits the array, and a job after it that prints status and report; in a job of
// the array it runs the task's shard.
std::string slurm_script(const SlurmJob& job);

}  // namespace zo2

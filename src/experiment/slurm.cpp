#include "experiment/slurm.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "experiment/shell_quote.h"

namespace zo2 {
namespace {

std::string directive(const std::string& name, const std::string& value) {
  return value.empty() ? "" : fmt::format("#SBATCH --{}={}\n", name, value);
}

}  // namespace

std::string slurm_script(const SlurmJob& job) {
  std::string head = "#!/usr/bin/env bash\n";
  head += directive("job-name", "zo2-" + job.name);
  head += fmt::format("#SBATCH --array=1-{}\n", job.shards);
  head += directive("time", job.time) + directive("gres", job.gres);
  for (const std::string& more : job.directives) head += fmt::format("#SBATCH {}\n", more);
  std::vector<std::string> words;
  for (const std::string& argument : job.arguments) words.push_back(shell_quoted(argument));
  return head + fmt::format(R"(#
# Written by `zo2 slurm`. `bash THIS` submits it: a job array, in which each task runs its shard of the repeats, and a
# job after it, which prints how far the sweep is and what it measured. To resume, submit it again.
set -euo pipefail
cd {folder}
zo2={program}
out={out}

case "${{1:-}}" in
  collect)
    "$zo2" status "$out"
    "$zo2" report "$out"
    ;;
  "")
    if [[ -n "${{SLURM_ARRAY_TASK_ID:-}}" ]]; then
      exec "$zo2" run {arguments} --out "$out" --shard "$SLURM_ARRAY_TASK_ID/{shards}"
    fi
    script=${{BASH_SOURCE[0]}}
    mkdir -p "$out"
    array=$(sbatch --parsable --output="$out/slurm-%A_%a.log" "$script")
    # The id may be followed by the cluster's name. afterany: a failed cell does not keep the report from being made.
    sbatch --dependency="afterany:${{array%%;*}}" --array=1 --gres=none --output="$out/slurm-collect.log" "$script" collect
    ;;
  *)
    echo "usage: bash $0 [collect]" >&2
    exit 2
    ;;
esac
)",
                            fmt::arg("folder", shell_quoted(job.folder)),
                            fmt::arg("program", shell_quoted(job.program)), fmt::arg("out", shell_quoted(job.out)),
                            fmt::arg("arguments", fmt::join(words, " ")), fmt::arg("shards", job.shards));
}

}  // namespace zo2

#include "runtime/replay.h"

#include <algorithm>
#include <mutex>

#include "base/error.h"
#include "runtime/cpu/visit.h"
#include "store/parallel.h"

namespace zo2 {
namespace {

constexpr int64_t kChunk = 1 << 18;  // elements of one job

struct Job {
  int weight;
  int64_t first;
  int64_t count;
};

// Over distinct memory: two weights that share it must not be folded at once.
std::vector<Job> jobs_of(const HostWeights& weights) {
  std::vector<Job> jobs;
  for (int weight = 0; weight < weights.count(); ++weight) {
    if (weights.owner(weight) != weight) continue;
    const int64_t count = weights.table().weights[weight].count();
    for (int64_t first = 0; first < count; first += kChunk)
      jobs.push_back({weight, first, std::min(kChunk, count - first)});
  }
  return jobs;
}

// Folds the entries of steps [first_step, end_step) into one job's elements.
void fold(HostWeights& weights, const FoldRules& rules, const Job& job, std::span<const LogEntry> entries, int pairs,
          int64_t first_step, int64_t end_step) {
  const std::span<const LogEntry> pending = entries_between(entries, pairs, first_step, end_step);
  if (pending.empty()) return;
  std::byte* data = weights.data(job.weight) + job.first * dtype_bytes(weights.dtype());
  VisitOutput output;
  output.base = data;
  visit_elements(rules, job.weight, job.first, job.count, data, pending, nullptr, output);
}

}  // namespace

void replay_commits(HostWeights& weights, const std::vector<CommitRule>& commits, const ExecutorSettings& settings,
                    std::span<const LogEntry> entries, int pairs, int64_t from, int64_t to,
                    const ReplayProgress& progress) {
  const FoldRules rules{&weights.table(), weights.dtype(), &settings};
  const std::vector<Job> jobs = jobs_of(weights);
  int64_t all = 0;
  for (const Job& job : jobs) all += job.count;
  std::mutex mutex;
  int64_t done = 0;
  parallel_for(hardware_threads(), static_cast<int64_t>(jobs.size()), [&](int64_t i) {
    const CommitRule& rule = commits[jobs[i].weight];
    int64_t folded = rule.folded_steps(from);
    for (int64_t step = from; step < to; ++step) {
      if (!rule.commits_at(step)) continue;
      fold(weights, rules, jobs[i], entries, pairs, folded, step);
      folded = std::max(folded, step);
    }
    if (!progress) return;
    const std::lock_guard lock(mutex);
    done += jobs[i].count;
    progress(done, all);
  });
}

void fold_pending(HostWeights& weights, const std::vector<CommitRule>& commits, const ExecutorSettings& settings,
                  std::span<const LogEntry> entries, int pairs, int64_t step) {
  const FoldRules rules{&weights.table(), weights.dtype(), &settings};
  const std::vector<Job> jobs = jobs_of(weights);
  parallel_for(hardware_threads(), static_cast<int64_t>(jobs.size()), [&](int64_t i) {
    fold(weights, rules, jobs[i], entries, pairs, commits[jobs[i].weight].folded_steps(step), step);
  });
}

void replay_on_cpu(HostWeights& weights, const std::vector<CommitRule>& commits, const ExecutorSettings& settings,
                   std::span<const LogEntry> entries, int pairs, int64_t from, int64_t to,
                   const ReplayProgress& progress) {
  replay_commits(weights, commits, settings, entries, pairs, from, to, progress);
  fold_pending(weights, commits, settings, entries, pairs, to);
}

}  // namespace zo2

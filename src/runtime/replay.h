// The step log applied to weights without data: what a resumed run, an export and a replay do. Of aliased weights only
// owners are folded: what the run itself made of them depends on timing and is not reached.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "program/commit.h"
#include "runtime/executor.h"
#include "store/host_weights.h"
#include "store/step_log.h"

namespace zo2 {

// Takes the bases of step `from` to the bases of step `to` as the run itself would have: every commit in between, in
// order, each with its own rounding. `entries` are the log's, starting no later than the oldest pending at `from`, up
// to step `to`; `pairs` of them a step. `progress`, when given, hears of the elements that are done, out of all, from
// one thread at a time.
using ReplayProgress = std::function<void(int64_t done, int64_t all)>;
void replay_commits(HostWeights& weights, const std::vector<CommitRule>& commits, const ExecutorSettings& settings,
                    std::span<const LogEntry> entries, int pairs, int64_t from, int64_t to,
                    const ReplayProgress& progress = nullptr);

// Turns the bases of `step` into w_t, in place. The result is for evaluation and export; it is not a state to resume
// from when entries are pending.
void fold_pending(HostWeights& weights, const std::vector<CommitRule>& commits, const ExecutorSettings& settings,
                  std::span<const LogEntry> entries, int pairs, int64_t step);

// Both: the bases of step `from` become w_t of step `to`. On a device too, with the same bits; throws OutOfMemoryError
// or DeviceError there. Above the runtime, replay_weights (runtime/device.h) chooses.
void replay_on_cpu(HostWeights& weights, const std::vector<CommitRule>& commits, const ExecutorSettings& settings,
                   std::span<const LogEntry> entries, int pairs, int64_t from, int64_t to,
                   const ReplayProgress& progress = nullptr);
void replay_on_cuda(HostWeights& weights, const std::vector<CommitRule>& commits, const ExecutorSettings& settings,
                    std::span<const LogEntry> entries, int pairs, int64_t from, int64_t to,
                    const ReplayProgress& progress = nullptr);

}  // namespace zo2

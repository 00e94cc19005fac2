// What each operation of a program computes on the CPU, given where its buffers are. Single-threaded callers; loops are
// split over LibTorch's compute threads.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <vector>

#include "runtime/cpu/arena.h"
#include "runtime/cpu/visit.h"

namespace zo2::cpu {

// The newest entries of the step log, addressed by (step, pair).
class EntryRing {
 public:
  explicit EntryRing(int pairs) : pairs_(pairs) {}
  void push(const LogEntry& entry);
  // The entries of steps [first_step, end_step), oldest first. See entries_between.
  std::span<const LogEntry> range(int64_t first_step, int64_t end_step) const;

 private:
  int pairs_;
  std::vector<LogEntry> entries_;  // ascending; old ones are dropped now and then
};

class Operations {
 public:
  Operations(const Plan& plan, HostWeights& weights, const ExecutorSettings& settings, Arena& arena);

  // Runs one operation for one pass. Returns whether a copy copied anything; false for what is no copy.
  bool run(const PlannedPass& planned, const ScheduledOp& scheduled, const PassInput& input);

  void start(std::span<const LogEntry> entries);
  const EntryRing& entries() const { return entries_; }

  // Copies every resident tile between its place and the host.
  void load_resident() { copy_resident(/*to_host=*/false); }
  void save_resident() { copy_resident(/*to_host=*/true); }

  // After `entry` of a step's last pass: what it made.
  StepResult take_result();
  double loss_sum(const PlannedPass& planned, int branch) const;
  std::vector<float> logprobs(const PlannedPass& planned, int branch, size_t count) const;
  std::vector<int32_t> next_tokens(const PlannedPass& planned, size_t count) const;

 private:
  std::byte* buffer(const PlannedPass& planned, int buffer, int64_t bytes) const;
  std::byte* whole(const PlannedPass& planned, int buffer) const;
  std::span<const LogEntry> pending(int weight, const PassInput& input) const;
  const std::byte* table_row(const Program& program, int weight, int64_t row) const;
  int64_t elements_bytes(int64_t elements) const { return elements * elt_bytes_; }

  void copy_tile(const Tile& tile, int64_t offset, bool to_host);
  void copy_resident(bool to_host);
  bool upload(const PlannedPass&, const ScheduledOp&);
  bool download(const PlannedPass&, const ScheduledOp&, const PassInput&);
  void visit(const PlannedPass&, const ScheduledOp&, const PassInput&);
  void noise(const PlannedPass&, const Op&, const PassInput&);
  void inputs(const PlannedPass&, const PassInput&);
  void gather(const PlannedPass&, const Op&, const PassInput&);
  void layer_norm(const PlannedPass&, const Op&, const PassInput&);
  void linear(const PlannedPass&, const Op&, const PassInput&);
  void attention(const PlannedPass&, const Op&, const PassInput&);
  void cache(const PlannedPass&, const Op&, const PassInput&);
  void cached_attention(const PlannedPass&, const Op&, const PassInput&);
  void select_rows(const PlannedPass&, const Op&, const PassInput&);
  const float* logits(const PlannedPass&, const Op&, const PassInput&);  // of the tile, [labelled, its rows]
  void head(const PlannedPass&, const Op&, const PassInput&);
  void arg_max(const PlannedPass&, const Op&, const PassInput&);
  void loss(const PlannedPass&, const Op&, const PassInput&);
  void entry(const PlannedPass&, const Op&, const PassInput&);

  const Plan& plan_;
  HostWeights& weights_;
  const ExecutorSettings& settings_;
  Arena& arena_;
  FoldRules rules_;
  int64_t elt_bytes_;
  std::vector<std::vector<int>> tiles_of_;  // per weight, in row order
  EntryRing entries_;
  int64_t step_terms_ = 0;  // Batch::terms of the step's passes so far
  std::optional<StepResult> result_;
  std::chrono::steady_clock::time_point last_end_;
};

}  // namespace zo2::cpu

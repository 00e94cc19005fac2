// What each operation of a program enqueues on the device, given where its buffers are. One caller at a time; nothing
// here waits.
#pragma once

#include <span>
#include <vector>

#include "runtime/cuda/gemm.h"
#include "runtime/cuda/host_link.h"
#include "runtime/cuda/layers.h"
#include "runtime/cuda/visit.h"
#include "runtime/executor.h"

namespace zo2::cuda {

inline constexpr int64_t kStepsInFlight = 8;  // results that the host has not yet taken

// Page-locked memory that a pass reads until it has ended.
struct PassMemory {
  PinnedBuffer words;                // tokens, rows, targets, groups
  std::vector<PinnedBuffer> packed;  // per gather of the program, where the host packs
};

class Operations {
 public:
  Operations(const Plan& plan, HostWeights& weights, const ExecutorSettings& settings);

  PassMemory make_pass_memory() const;

  // Enqueues one operation of one pass; the passes' operations in program order. True when a copy moved something.
  bool run(const PlannedPass& planned, const ScheduledOp& scheduled, const PassInput& input, PassMemory& memory);

  // Whether one operation uses memory outside the arena that others use too: cuBLAS's workspace.
  bool uses_workspace(const PlannedPass& planned, const ScheduledOp& scheduled, const PassInput& input);

  // `entries` are the log's newest before `next_step`. With the device idle.
  void start(int64_t next_step, std::span<const LogEntry> entries);
  // Copies every resident tile between its place and the host, and waits.
  void copy_resident(bool to_host);

  cudaStream_t stream_of(zo2::Stream stream) const;
  // What the step's entries came to, one per pair; in page-locked memory, there once the step has ended.
  EntryResult* results(int64_t step) const;
  std::byte* whole(const PlannedPass& planned, int buffer);  // device memory
  const HostLink& link() const { return link_; }
  int64_t peak_bytes() const { return peak_bytes_; }  // the highest byte of the arena that was handed out, plus one

 private:
  // A table that gathers read: where its tiles are, null for those that the host must pack.
  struct Table {
    std::vector<const std::byte*> tiles;
    DeviceBuffer device;  // the same, for kernels
    int64_t rows_per_tile = 1;
    bool all_reachable = true;
    int last_tile = -1;
  };

  int64_t bytes_of(int64_t elements) const { return elements * elt_bytes_; }
  std::byte* at(int64_t offset, int64_t bytes);  // arena memory [offset, offset + bytes)
  std::byte* buffer(const PlannedPass& planned, int index, int64_t bytes);
  uint32_t ring_position(int64_t step) const;
  PendingEntries pending(int weight, const PassInput& input) const;
  Direction direction(const PlannedPass& planned, const Op& op, const PassInput& input) const;
  VisitTile describe(const Tile& tile) const;  // what a visit goes over, without where it reads and writes
  LogSumExp log_sum_exp(const PlannedPass& planned, int index);
  void describe_weights();

  bool upload(const PlannedPass&, const ScheduledOp&);
  bool download(const PlannedPass&, const ScheduledOp&, const PassInput&);
  void visit(const PlannedPass&, const ScheduledOp&, const PassInput&);
  void noise(const PlannedPass&, const Op&, const PassInput&);
  void inputs(const PlannedPass&, const PassInput&, PassMemory&);
  void gather(const PlannedPass&, const Op&, const PassInput&, PassMemory&);
  void layer_norm(const PlannedPass&, const Op&, const PassInput&);
  GemmShape product(const PlannedPass&, const Op&, const PassInput&) const;  // linear, head, arg_max
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
  const VisitRules rules_;
  const int64_t elt_bytes_;
  const int64_t pairs_;

  DeviceBuffer arena_;
  DeviceBuffer ring_;     // [kRingEntries] DeviceEntry
  PinnedBuffer results_;  // [kStepsInFlight, pairs] EntryResult
  std::vector<VisitSegment> segments_;
  DeviceBuffer device_segments_;
  std::vector<size_t> segment_first_;  // per weight, in segments_
  std::vector<Table> tables_;          // per weight
  cuda::Stream compute_;
  cuda::Stream upload_;
  cuda::Stream download_;
  HostLink link_;
  Gemm gemm_;

  size_t gathers_ = 0;        // of the pass so far
  int64_t oldest_entry_ = 0;  // the first step in the ring
  int64_t step_terms_ = 0;    // Batch::terms of the step's passes so far
  int64_t peak_bytes_ = 0;
};

}  // namespace zo2::cuda

// What ran when: the operations of a few steps with their times on the device, as data. Written for Perfetto and
// chrome://tracing, read back, and boiled down to overlap figures (what `zo2 trace` prints).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>
#include <vector>

#include "program/schedule.h"

namespace zo2 {

inline constexpr const char* kTraceFile = "trace.json";  // in the folder of a run or of a cell's repeat

// Steps [first, first + count) are traced.
struct TraceWindow {
  int64_t first = 0;
  int64_t count = 0;
  bool contains(int64_t step) const { return step >= first && step < first + count; }
};

struct TraceSpan {
  OpKind kind = OpKind::inputs;
  Stream stream = Stream::compute;
  int64_t step = 0;
  int tile = -1;        // index in Program::tiles; -1: none
  int slot = -1;        // in the ring; -1: resident, or no tile
  int64_t bytes = 0;    // moved, for copies
  double begin_ms = 0;  // since the first span began
  double end_ms = 0;
};

// Sorts by begin and makes the times relative to the first begin: streams run ahead of each other, so the operation
// that is first in the program need not be.
void align_spans(std::vector<TraceSpan>& spans);

// Chrome's trace event format (docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU), which Perfetto
// reads: one named process, one named thread a stream, a complete event a span with step, tile, slot and bytes.
void write_trace(const std::filesystem::path& path, const std::vector<TraceSpan>& spans);

// The inverse of write_trace, times to within rounding. Throws IoError when the file cannot be read, UsageError with
// what is wrong and where when it is torn or no trace of ours.
std::vector<TraceSpan> read_trace(const std::filesystem::path& path);

// Lengths of unions of intervals, in ms over the whole window.
struct Overlap {
  double wall_ms = 0;
  double upload_ms = 0;
  double compute_ms = 0;
  double download_ms = 0;
  double transfer_ms = 0;  // uploads or downloads
  double exposed_ms = 0;   // transfers while nothing computes

  double exposed_fraction() const { return transfer_ms > 0 ? exposed_ms / transfer_ms : 0; }
  // The longest of the three streams' busy times over the wall time: 1 when it never waits.
  double busiest_fraction() const;
};
Overlap overlap_of(const std::vector<TraceSpan>& spans);

}  // namespace zo2

// What ran when: the operations of a few steps with their times on the device, as data. Written for Perfetto and
// chrome://tracing, and boiled down to overlap figures.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>
#include <vector>

#include "program/schedule.h"

namespace zo2 {

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

// Chrome's trace event format: one process, one thread a stream, an event a span with tile, slot and bytes.
void write_trace(const std::filesystem::path& path, const std::vector<TraceSpan>& spans);

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

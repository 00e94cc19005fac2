#include "runtime/trace.h"

#include <algorithm>
#include <array>
#include <limits>

#include "base/file.h"
#include "base/json.h"

namespace zo2 {
namespace {

using Intervals = std::vector<std::pair<double, double>>;

constexpr std::array<const char*, 3> kLanes{"upload", "compute", "download"};

// Sorted, disjoint.
Intervals merged(Intervals intervals) {
  std::sort(intervals.begin(), intervals.end());
  Intervals result;
  for (const auto& [begin, end] : intervals) {
    if (!result.empty() && begin <= result.back().second) {
      result.back().second = std::max(result.back().second, end);
    } else {
      result.emplace_back(begin, end);
    }
  }
  return result;
}

double length(const Intervals& intervals) {
  double sum = 0;
  for (const auto& [begin, end] : intervals) sum += end - begin;
  return sum;
}

// Both merged: how much of `a` lies in `b`.
double common(const Intervals& a, const Intervals& b) {
  double sum = 0;
  size_t j = 0;
  for (const auto& [begin, end] : a) {
    while (j < b.size() && b[j].second <= begin) ++j;
    for (size_t k = j; k < b.size() && b[k].first < end; ++k) {
      sum += std::min(end, b[k].second) - std::max(begin, b[k].first);
    }
  }
  return sum;
}

}  // namespace

void write_trace(const std::filesystem::path& path, const std::vector<TraceSpan>& spans) {
  Json events = Json::array();
  for (size_t lane = 0; lane < kLanes.size(); ++lane) {
    events.push_back(
        {{"name", "thread_name"}, {"ph", "M"}, {"pid", 1}, {"tid", lane}, {"args", {{"name", kLanes[lane]}}}});
  }
  for (const TraceSpan& span : spans) {
    Json args{{"step", span.step}};
    if (span.tile >= 0) args["tile"] = span.tile;
    if (span.slot >= 0) args["slot"] = span.slot;
    if (span.bytes > 0) args["bytes"] = span.bytes;
    events.push_back({{"name", op_name(span.kind)},
                      {"ph", "X"},
                      {"pid", 1},
                      {"tid", static_cast<int>(span.stream)},
                      {"ts", span.begin_ms * 1e3},
                      {"dur", (span.end_ms - span.begin_ms) * 1e3},
                      {"args", std::move(args)}});
  }
  write_file_atomically(path, Json{{"displayTimeUnit", "ms"}, {"traceEvents", std::move(events)}}.dump() + "\n");
}

double Overlap::busiest_fraction() const {
  return wall_ms > 0 ? std::max({upload_ms, compute_ms, download_ms}) / wall_ms : 0;
}

Overlap overlap_of(const std::vector<TraceSpan>& spans) {
  Overlap overlap;
  if (spans.empty()) return overlap;
  std::array<Intervals, 3> lanes;
  double begin = std::numeric_limits<double>::max();
  double end = std::numeric_limits<double>::lowest();
  for (const TraceSpan& span : spans) {
    begin = std::min(begin, span.begin_ms);
    end = std::max(end, span.end_ms);
    if (span.end_ms > span.begin_ms) lanes[static_cast<size_t>(span.stream)].emplace_back(span.begin_ms, span.end_ms);
  }
  for (Intervals& lane : lanes) lane = merged(std::move(lane));
  Intervals transfers = lanes[0];
  transfers.insert(transfers.end(), lanes[2].begin(), lanes[2].end());
  transfers = merged(std::move(transfers));
  overlap.wall_ms = end - begin;
  overlap.upload_ms = length(lanes[0]);
  overlap.compute_ms = length(lanes[1]);
  overlap.download_ms = length(lanes[2]);
  overlap.transfer_ms = length(transfers);
  overlap.exposed_ms = overlap.transfer_ms - common(transfers, lanes[1]);
  return overlap;
}

}  // namespace zo2

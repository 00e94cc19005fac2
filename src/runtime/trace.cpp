#include "runtime/trace.h"

#include <algorithm>
#include <array>
#include <limits>

#include "base/error.h"
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

OpKind parse_kind(const std::string& name) {
  for (int kind = 0; kind <= static_cast<int>(OpKind::entry); ++kind) {
    if (op_name(static_cast<OpKind>(kind)) == name) return static_cast<OpKind>(kind);
  }
  throw UsageError(fmt::format("no operation is called '{}'", name));
}

// Exact: a JSON number with a fraction, or one that does not fit, is no index.
template <typename Integer>
Integer integer_at(const Json& object, const char* key, Integer least) {
  const Json& value = object.at(key);
  const bool fits = value.is_number_integer() && value >= least && value <= std::numeric_limits<Integer>::max();
  ZO2_CHECK(fits, UsageError, "{}: expected an integer of at least {}, found {}", key, least, value.dump());
  return value.get<Integer>();
}

double microseconds_at(const Json& event, const char* key) {
  const Json& value = event.at(key);
  ZO2_CHECK(value.is_number() && value >= 0, UsageError, "{}: expected a time in microseconds, found {}", key,
            value.dump());
  return value.get<double>();
}

// Throws UsageError or Json::exception when the event is none of ours.
TraceSpan to_span(const Json& event) {
  const Json& args = event.at("args");
  const int lane = integer_at<int>(event, "tid", 0);
  ZO2_CHECK(lane < static_cast<int>(kLanes.size()), UsageError, "tid: there is no lane {}", lane);
  TraceSpan span;
  span.kind = parse_kind(event.at("name").get<std::string>());
  span.stream = static_cast<Stream>(lane);
  span.step = integer_at<int64_t>(args, "step", 0);
  if (args.contains("tile")) span.tile = integer_at<int>(args, "tile", 0);
  if (args.contains("slot")) span.slot = integer_at<int>(args, "slot", 0);
  if (args.contains("bytes")) span.bytes = integer_at<int64_t>(args, "bytes", 0);
  const double begin_us = microseconds_at(event, "ts");
  span.begin_ms = begin_us / 1e3;
  span.end_ms = (begin_us + microseconds_at(event, "dur")) / 1e3;
  return span;
}

}  // namespace

void align_spans(std::vector<TraceSpan>& spans) {
  if (spans.empty()) return;
  std::ranges::stable_sort(spans, {}, &TraceSpan::begin_ms);
  const double first_ms = spans.front().begin_ms;
  for (TraceSpan& span : spans) {
    span.begin_ms -= first_ms;
    span.end_ms -= first_ms;
  }
}

void write_trace(const std::filesystem::path& path, const std::vector<TraceSpan>& spans) {
  Json events = Json::array();
  events.push_back({{"name", "process_name"}, {"ph", "M"}, {"pid", 1}, {"tid", 0}, {"args", {{"name", "zo2"}}}});
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

std::vector<TraceSpan> read_trace(const std::filesystem::path& path) {
  const Json trace = read_json(path);
  ZO2_CHECK(trace.is_object() && trace.contains("traceEvents") && trace["traceEvents"].is_array(), UsageError,
            "{} is no trace: it has no list of traceEvents", path.string());
  const Json& events = trace["traceEvents"];
  std::vector<TraceSpan> spans;
  for (size_t index = 0; index < events.size(); ++index) {
    const auto wrong = [&](const char* what) {
      return UsageError(fmt::format("{} is no trace that zo2 wrote: event {}: {}", path.string(), index, what));
    };
    try {
      if (events[index].at("ph") == "X") spans.push_back(to_span(events[index]));
    } catch (const UsageError& error) {
      throw wrong(error.what());
    } catch (const Json::exception& error) {
      throw wrong(error.what());
    }
  }
  return spans;
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

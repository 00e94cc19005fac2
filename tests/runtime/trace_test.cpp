// Overlap figures of known spans, and the file that Perfetto reads.
#include "runtime/trace.h"

#include "base/json.h"
#include "support.h"

namespace zo2 {
namespace {

TraceSpan span(OpKind kind, Stream stream, double begin_ms, double end_ms) {
  TraceSpan result;
  result.kind = kind;
  result.stream = stream;
  result.begin_ms = begin_ms;
  result.end_ms = end_ms;
  return result;
}

std::vector<TraceSpan> known_spans() {
  return {span(OpKind::upload, Stream::upload, 0, 4), span(OpKind::upload, Stream::upload, 4, 6),
          span(OpKind::visit, Stream::compute, 4, 5), span(OpKind::linear, Stream::compute, 5, 7),
          span(OpKind::download, Stream::download, 5, 10)};
}

TEST(Trace, OverlapFiguresAreLengthsOfUnions) {
  const Overlap overlap = overlap_of(known_spans());
  EXPECT_DOUBLE_EQ(overlap.wall_ms, 10);
  EXPECT_DOUBLE_EQ(overlap.upload_ms, 6);
  EXPECT_DOUBLE_EQ(overlap.compute_ms, 3);
  EXPECT_DOUBLE_EQ(overlap.download_ms, 5);
  EXPECT_DOUBLE_EQ(overlap.transfer_ms, 10);
  EXPECT_DOUBLE_EQ(overlap.exposed_ms, 7);
  EXPECT_DOUBLE_EQ(overlap.exposed_fraction(), 0.7);
  EXPECT_DOUBLE_EQ(overlap.busiest_fraction(), 0.6);
}

TEST(Trace, NothingTracedIsAllZero) {
  const Overlap overlap = overlap_of({});
  EXPECT_EQ(overlap.wall_ms, 0);
  EXPECT_EQ(overlap.exposed_fraction(), 0);
  EXPECT_EQ(overlap.busiest_fraction(), 0);
}

TEST(Trace, TheFileIsChromesFormat) {
  const testing::TempFolder folder;
  std::vector<TraceSpan> spans = known_spans();
  spans[0].tile = 7;
  spans[0].slot = 2;
  spans[0].bytes = 4096;
  write_trace(folder / "trace.json", spans);
  const Json trace = read_json(folder / "trace.json");
  const Json& events = trace.at("traceEvents");
  ASSERT_EQ(events.size(), 3 + spans.size());
  for (size_t lane = 0; lane < 3; ++lane) EXPECT_EQ(events[lane].at("ph"), "M");
  EXPECT_EQ(events[3], (Json{{"name", "upload"},
                             {"ph", "X"},
                             {"pid", 1},
                             {"tid", 0},
                             {"ts", 0.0},
                             {"dur", 4000.0},
                             {"args", {{"step", 0}, {"tile", 7}, {"slot", 2}, {"bytes", 4096}}}}));
  EXPECT_EQ(events[7].at("tid"), 2);
}

}  // namespace
}  // namespace zo2

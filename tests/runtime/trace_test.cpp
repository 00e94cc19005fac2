// Overlap figures of known spans, and the file that Perfetto reads, there and back.
#include "runtime/trace.h"

#include "base/error.h"
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
  ASSERT_EQ(events.size(), 4 + spans.size());
  for (size_t index = 0; index < 4; ++index) EXPECT_EQ(events[index].at("ph"), "M");
  EXPECT_EQ(events[4], (Json{{"name", "upload"},
                             {"ph", "X"},
                             {"pid", 1},
                             {"tid", 0},
                             {"ts", 0.0},
                             {"dur", 4000.0},
                             {"args", {{"step", 0}, {"tile", 7}, {"slot", 2}, {"bytes", 4096}}}}));
  EXPECT_EQ(events[8].at("tid"), 2);
}

TEST(Trace, SpansAreSortedAndRelativeToTheFirstBegin) {
  std::vector<TraceSpan> spans{span(OpKind::visit, Stream::compute, 4, 5), span(OpKind::upload, Stream::upload, -2, 1)};
  align_spans(spans);
  EXPECT_EQ(spans[0].kind, OpKind::upload);
  EXPECT_EQ(spans[0].begin_ms, 0);
  EXPECT_EQ(spans[0].end_ms, 3);
  EXPECT_EQ(spans[1].begin_ms, 6);
  EXPECT_EQ(spans[1].end_ms, 7);
}

TEST(Trace, WhatIsReadIsWhatWasWritten) {
  const testing::TempFolder folder;
  std::vector<TraceSpan> spans;
  for (int kind = 0; kind <= static_cast<int>(OpKind::entry); ++kind) {
    TraceSpan made = span(static_cast<OpKind>(kind), static_cast<Stream>(kind % 3), kind / 7.0, kind / 3.0);
    made.step = int64_t{1} << 40;
    made.tile = kind - 1;  // none, then 0
    made.slot = 3 - kind;  // ..., 0, then none
    if (made.slot < 0) made.slot = -1;
    made.bytes = kind * (int64_t{1} << 33);
    spans.push_back(made);
  }
  write_trace(folder / "trace.json", spans);
  const std::vector<TraceSpan> read = read_trace(folder / "trace.json");
  ASSERT_EQ(read.size(), spans.size());
  for (size_t i = 0; i < spans.size(); ++i) {
    SCOPED_TRACE(i);
    EXPECT_EQ(read[i].kind, spans[i].kind);
    EXPECT_EQ(read[i].stream, spans[i].stream);
    EXPECT_EQ(read[i].step, spans[i].step);
    EXPECT_EQ(read[i].tile, spans[i].tile);
    EXPECT_EQ(read[i].slot, spans[i].slot);
    EXPECT_EQ(read[i].bytes, spans[i].bytes);
    EXPECT_DOUBLE_EQ(read[i].begin_ms, spans[i].begin_ms);
    EXPECT_DOUBLE_EQ(read[i].end_ms, spans[i].end_ms);
  }
}

TEST(Trace, AForeignOrTornFileIsRefusedWithWhatIsWrong) {
  const testing::TempFolder folder;
  const auto refusal = [&](const std::string& text) {
    const auto path = folder.write("trace.json", text);
    const std::string message = testing::message_of<UsageError>([&] { read_trace(path); });
    EXPECT_NE(message.find("trace.json"), std::string::npos) << message;
    return message;
  };
  const auto expect_refused = [&](const std::string& text, const std::string& part) {
    EXPECT_NE(refusal(text).find(part), std::string::npos) << text << " -> " << refusal(text);
  };
  const auto event = [](const std::string& key, const std::string& value) {
    Json made{{"name", "upload"}, {"ph", "X"}, {"tid", 0}, {"ts", 1.5}, {"dur", 2}, {"args", {{"step", 3}}}};
    const bool inner = key == "step" || key == "tile" || key == "bytes";
    (inner ? made["args"] : made)[key] = Json::parse(value);
    return Json{{"traceEvents", {Json{{"ph", "M"}}, made}}}.dump();
  };
  folder.write("trace.json", event("dur", "2"));
  EXPECT_EQ(read_trace(folder / "trace.json").size(), 1U);  // what the rest differ from in one value each

  expect_refused("", "not valid JSON");
  expect_refused(event("dur", "2").substr(0, 60), "not valid JSON");
  expect_refused(R"({"traceEvents": [1e999]})", "not valid JSON");
  expect_refused("[]", "no list of traceEvents");
  expect_refused("3", "no list of traceEvents");
  expect_refused("{}", "no list of traceEvents");
  expect_refused(R"({"traceEvents": {}})", "no list of traceEvents");
  expect_refused(R"({"traceEvents": [7]})", "event 0: ");
  expect_refused(R"({"traceEvents": [{"ph": "X"}]})", "args");
  expect_refused(event("name", R"("cudaMemcpy")"), "event 1: no operation is called 'cudaMemcpy'");
  expect_refused(event("name", "7"), "event 1: ");
  expect_refused(event("tid", "3"), "tid: there is no lane 3");
  expect_refused(event("tid", "-1"), "tid: ");
  expect_refused(event("tid", R"("main")"), "tid: ");
  expect_refused(event("ts", "-0.5"), "ts: expected a time in microseconds, found -0.5");
  expect_refused(event("dur", "-1"), "dur: ");
  expect_refused(event("dur", "null"), "dur: ");
  expect_refused(event("step", "1.5"), "step: ");
  expect_refused(event("step", "18446744073709551615"), "step: ");
  expect_refused(event("tile", "4294967296"), "tile: ");
  expect_refused(event("bytes", "[]"), "bytes: ");
  EXPECT_THROW(read_trace(folder / "none.json"), IoError);
}

}  // namespace
}  // namespace zo2

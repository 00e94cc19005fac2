#include "experiment/progress.h"

#include <gtest/gtest.h>

#include <fstream>

#include "support.h"

namespace zo2 {
namespace {

using testing::TempFolder;

TEST(LineCounter, CountsWhatHasCome) {
  const TempFolder scratch;
  LineCounter counter(scratch / "samples.jsonl");
  EXPECT_EQ(counter.count(), 0) << "no file yet";
  std::ofstream stream(scratch / "samples.jsonl");
  stream << "one\ntw" << std::flush;
  EXPECT_EQ(counter.count(), 1);
  EXPECT_EQ(counter.count(), 1) << "nothing new";
  stream << "o\nthree\n" << std::flush;
  EXPECT_EQ(counter.count(), 3);
}

TEST(Progress, TellsRateAndTimeLeft) {
  EXPECT_EQ(rate_text(0, 5, 10), "") << "nothing to go by";
  EXPECT_EQ(rate_text(4, 6, 10), "2.5 s each, about 0:15 left");
  EXPECT_EQ(rate_text(2, 60, 200), "1:40 each, about 1:40:00 left");
}

std::string shown(const std::function<void(Progress&)>& steps, bool quiet = false) {
  ::testing::internal::CaptureStderr();
  Progress progress(5, quiet);
  steps(progress);
  return ::testing::internal::GetCapturedStderr();
}

TEST(Progress, IsALineForEachEndedRepeatWithoutATerminal) {
  const auto steps = [](Progress& progress) {
    progress.reuse(State::ok);
    progress.reuse(State::ok);
    progress.reuse(State::crashed);
    progress.begin_sweep();
    progress.begin("cell", 0, "/nowhere", 10);
    progress.tick();
    progress.end("cell", 0, {{"state", "timeout"}, {"error", "stopped after 1.0 s"}, {"metrics", {{"wall_s", 1.5}}}});
  };
  EXPECT_EQ(shown(steps),
            "[3/5] there already: 2 ok, 1 crashed; --retry-failed runs the failed ones again\n"
            "[4/5] cell r0: timeout, 1.5 s\n"
            "    stopped after 1.0 s\n");
  EXPECT_EQ(shown(steps, true), "");
  EXPECT_EQ(shown([](Progress& progress) { progress.begin_sweep(); }), "") << "nothing is there";
}

}  // namespace
}  // namespace zo2

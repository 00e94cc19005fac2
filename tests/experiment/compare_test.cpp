#include "experiment/compare.h"

#include "base/error.h"
#include "experiment/synthetic_records.h"

namespace zo2 {
namespace {

using testing::message_of;

TEST(Judge, NeedsTheWholeIntervalBeyondTheThreshold) {
  const auto higher = [](double low, double high) { return judge({low, high}, Better::higher, 0.02); };
  EXPECT_EQ(higher(0.90, 0.97), Change::worse);
  EXPECT_EQ(higher(0.90, 0.99), Change::unclear);
  EXPECT_EQ(higher(0.99, 1.01), Change::same);
  EXPECT_EQ(higher(1.01, 1.05), Change::unclear);
  EXPECT_EQ(higher(1.03, 1.05), Change::better);
  EXPECT_EQ(judge({1.03, 1.05}, Better::lower, 0.02), Change::worse);
  EXPECT_EQ(judge({0.90, 0.97}, Better::lower, 0.02), Change::better);
  EXPECT_EQ(judge({0.90, 0.97}, Better::neither, 0.02), Change::unclear);
}

// Two folders, A and B.
class CompareTest : public SyntheticRecords {
 protected:
  struct Folder : SyntheticRecords {
    using SyntheticRecords::add;
    using SyntheticRecords::Options;
    void TestBody() override {}
    std::string path() const { return scratch_.path().string(); }
    // A repeat for each speed.
    void add_speeds(const std::vector<double>& speeds, Options options = {}) {
      for (double speed : speeds) {
        options.tokens_per_s = speed;
        add(options);
        ++options.repeat;
      }
    }
  };
  Comparison compared(const CompareOptions& options = {.metrics = {"tokens_per_s"}, .ignore = {}}) {
    return compare(read_side(a_.path()), read_side(b_.path()), options);
  }
  MetricComparison only(const CompareOptions& options = {.metrics = {"tokens_per_s"}, .ignore = {}}) {
    const Comparison comparison = compared(options);
    EXPECT_EQ(comparison.cells.size(), 1u);
    EXPECT_EQ(comparison.cells[0].metrics.size(), 1u);
    return comparison.cells[0].metrics[0];
  }

  Folder a_;
  Folder b_;
};

TEST_F(CompareTest, ASlowdownIsFoundAndASpeedupIsNotWorse) {
  a_.add_speeds({100, 101, 99, 100.5, 99.5});
  b_.add_speeds({90, 91, 89, 90.5, 89.5});
  EXPECT_EQ(only().change, Change::worse);
  EXPECT_DOUBLE_EQ(only().ratio.value(), 0.9);
  EXPECT_TRUE(compared().any_worse());
  const Comparison back =
      compare(read_side(b_.path()), read_side(a_.path()), {.metrics = {"tokens_per_s"}, .ignore = {}});
  EXPECT_EQ(back.cells[0].metrics[0].change, Change::better);
  EXPECT_FALSE(back.any_worse());
}

TEST_F(CompareTest, TheDirectionIsTheMetrics) {
  for (int repeat = 0; repeat < 5; ++repeat) {
    a_.add({.repeat = repeat, .metrics = {{"nvml_step_peak_bytes", 1'000'000'000}}});
    b_.add({.repeat = repeat, .metrics = {{"nvml_step_peak_bytes", 1'100'000'000}}});
  }
  EXPECT_EQ(only({.metrics = {"nvml_step_peak_bytes"}, .ignore = {}}).change, Change::worse);
  EXPECT_EQ(only({.threshold = 0.2, .metrics = {"nvml_step_peak_bytes"}, .ignore = {}}).change, Change::same);
}

TEST_F(CompareTest, FewerThanFiveHaveNoVerdict) {
  a_.add_speeds({100, 101, 99, 100.5, 99.5});
  b_.add_speeds({10, 11, 12, 13});
  EXPECT_EQ(only().change, Change::too_few);
  EXPECT_FALSE(only().interval);
  EXPECT_FALSE(compared().any_worse());
  const std::string text = render_text(to_tables(compared())[0]);
  EXPECT_NE(text.find("B 10 tok/s, 11 tok/s, 12 tok/s, 13 tok/s (range 10 tok/s to 13 tok/s)"), std::string::npos)
      << text;
}

TEST_F(CompareTest, FailedAndSpoiledRepeatsDoNotCount) {
  a_.add_speeds({100, 101, 99, 100.5, 99.5});
  b_.add({.repeat = 0, .state = State::crashed, .tokens_per_s = 1});
  b_.add_speeds({100, 101, 99, 100.5, 99.5}, {.repeat = 1});
  b_.add({.repeat = 6, .state = State::throttled, .tokens_per_s = 1});
  EXPECT_EQ(only().right, (std::vector<double>{100, 101, 99, 100.5, 99.5}));
  EXPECT_EQ(only().change, Change::same);
  EXPECT_FALSE(compared().any_failed());
}

TEST_F(CompareTest, ASideWithoutAFigureSaysWhy) {
  a_.add({.metrics = {{"pin_s", 1.0}}});
  b_.add({.state = State::oom});
  EXPECT_EQ(only().change, Change::missing);
  EXPECT_EQ(only().reason, "B: oom") << "though the record that failed has one";
  EXPECT_EQ(only({.metrics = {"pin_s"}, .ignore = {}}).reason, "B: oom") << "as for a metric that it lacks";
  EXPECT_EQ(only({.metrics = {"nvml_step_peak_bytes"}, .ignore = {}}).change, Change::missing);
}

TEST_F(CompareTest, ACellThatFailedOnOneSideOnlyIsSaid) {
  a_.add_speeds({100, 101});
  b_.add({.repeat = 0, .state = State::crashed});
  b_.add({.repeat = 1, .state = State::timeout});
  EXPECT_TRUE(compared().any_failed());
  EXPECT_FALSE(compared().any_worse());
  EXPECT_EQ(compared().cells[0].left_failed, "");
  EXPECT_EQ(compared().cells[0].right_failed, "1 timeout, 1 crashed");
  const std::string text = render_text(to_tables(compared())[0]);
  EXPECT_NE(text.find("has figures  1 timeout, 1 crashed"), std::string::npos) << text;
  EXPECT_EQ(to_json(compared())["failed"], true);
  EXPECT_TRUE(compare(read_side(b_.path()), read_side(a_.path()), {}).any_failed()) << "whichever side it is";
  EXPECT_FALSE(compare(read_side(b_.path()), read_side(b_.path()), {}).any_failed()) << "nothing was lost";
}

TEST_F(CompareTest, SpeedOnAnotherGpuIsNotComparable) {
  const Json on_gpu{{"chosen", {{"device", "cuda"}}}};
  a_.add_speeds({100, 101, 99, 100.5, 99.5}, {.result = on_gpu, .environment = {{"gpu", {{"name", "A100"}}}}});
  b_.add_speeds({90, 91, 89, 90.5, 89.5}, {.result = on_gpu, .environment = {{"gpu", {{"name", "H100"}}}}});
  EXPECT_EQ(only().change, Change::not_comparable);
  EXPECT_EQ(only().reason, "processor: A100 and H100");
  ASSERT_EQ(compared().environment.size(), 1u);
  EXPECT_EQ(compared().environment[0].key, "gpu.name");
  EXPECT_EQ(compared().environment[0].right, "H100");
}

TEST_F(CompareTest, CellsMatchOnTheirConfigurationWithoutTheIgnoredKeys) {
  a_.add({.config = {{"method.writeback_every", 1}}});
  b_.add({.config = {{"method.writeback_every", 8}}});
  b_.add({.method = "mezo"});
  EXPECT_NE(message_of<UsageError>([&] { compared(); }).find("differ in"), std::string::npos);
  CompareOptions options{.metrics = {"tokens_per_s"}, .ignore = {"method.writeback_every"}};
  const Comparison comparison = compared(options);
  ASSERT_EQ(comparison.cells.size(), 1u);
  EXPECT_EQ(comparison.cells[0].config[0].key, "method.writeback_every");
  EXPECT_EQ(comparison.cells[0].config[0].right, "8");
  EXPECT_EQ(comparison.only_right, std::vector<std::string>{"opt-125m-mezo"});
  options.ignore = {"method"};  // a whole section
  EXPECT_EQ(compared(options).cells.size(), 2u);
  options.ignore = {"method.writeback_evry"};
  EXPECT_NE(message_of<UsageError>([&] { compared(options); }).find("did you mean 'method.writeback_every'"),
            std::string::npos);
}

TEST_F(CompareTest, AnEqualCellMatchesNothingElse) {
  for (Folder* folder : {&a_, &b_}) {
    folder->add({.config = {{"method.writeback_every", 1}}});
    folder->add({.config = {{"method.writeback_every", 8}}});
  }
  EXPECT_EQ(compared({.metrics = {"tokens_per_s"}, .ignore = {"method.writeback_every"}}).cells.size(), 2u);
}

TEST_F(CompareTest, NamedCellsAreComparedWhateverDiffers) {
  a_.add_speeds({100, 101, 99, 100.5, 99.5}, {.method = "zo2"});
  a_.add_speeds({50, 51, 49, 50.5, 49.5}, {.method = "mezo"});
  const Comparison comparison = compare(read_side(a_.path() + ":opt-125m-zo2"), read_side(a_.path() + ":opt-125m-mezo"),
                                        {.metrics = {"tokens_per_s"}, .ignore = {}});
  EXPECT_EQ(comparison.cells[0].metrics[0].change, Change::worse);
  EXPECT_EQ(comparison.cells[0].config[0].key, "method.name");
  EXPECT_NE(message_of<UsageError>([&] { read_side(a_.path() + ":nothing"); }).find("opt-125m-mezo-"),
            std::string::npos);
  a_.add({.method = "zo2", .config = {{"data.seq", 64}}});
  EXPECT_NE(message_of<UsageError>([&] { read_side(a_.path() + ":opt-125m-zo2"); }).find("means 2 cells"),
            std::string::npos);
}

TEST_F(CompareTest, UnknownMetricsAreNamed) {
  a_.add({});
  b_.add({});
  EXPECT_NE(message_of<UsageError>([&] {
              compared({.metrics = {"token_per_s"}, .ignore = {}});
            }).find("did you mean 'tokens_per_s'"),
            std::string::npos);
}

}  // namespace
}  // namespace zo2

#include "experiment/report.h"

#include <gtest/gtest.h>

#include <fmt/format.h>

#include <cmath>
#include <functional>
#include <map>

#include "base/error.h"
#include "experiment/config_schema.h"
#include "experiment/synthetic_records.h"
#include "support.h"

namespace zo2 {
namespace {

using testing::TempFolder;

class ReportTest : public SyntheticRecords {
 protected:
  Report report(const std::vector<ReferenceFigure>& figures = {}) { return build_report(scratch_.path(), figures); }
  EqualityVerdict only_verdict() {
    const auto verdicts = report().equality;
    EXPECT_EQ(verdicts.size(), 1u);
    return verdicts.empty() ? EqualityVerdict{} : verdicts[0];
  }
};

TEST_F(ReportTest, EqualRunsPass) {
  add({.method = "resident"});
  add({.method = "zo2", .config = {{"engine.slots", 8}}});  // slots are not numerics
  add({.method = "mezo"});                                  // takes no part
  const EqualityVerdict verdict = only_verdict();
  EXPECT_EQ(verdict.verdict, Verdict::pass) << verdict.reason;
  EXPECT_EQ(verdict.left, "opt-125m-resident r0");
  EXPECT_EQ(verdict.steps, 10);
}

TEST_F(ReportTest, OneBitIsADifference) {
  add({.method = "resident", .gradient = 1.5});
  add({.method = "zo2", .gradient = std::nextafter(1.5, 2)});
  EXPECT_EQ(only_verdict().verdict, Verdict::fail);
  EXPECT_EQ(only_verdict().reason.find("step 1: projected_gradient 1.5 against 1.5000000000000002"), 0u);
}

TEST_F(ReportTest, DifferentFinalWeightsFail) {
  add({.method = "resident"});
  add({.method = "zo2", .final_weights = "ccc"});
  EXPECT_EQ(only_verdict().verdict, Verdict::fail);
  EXPECT_EQ(only_verdict().reason, "final_weights differ");
}

TEST_F(ReportTest, RunsThatProveNothingAreNotComparable) {
  add({.method = "resident", .gradient = 0});
  add({.method = "zo2", .gradient = 0});
  EXPECT_EQ(only_verdict().verdict, Verdict::not_comparable) << "no informative gradient";
}

TEST_F(ReportTest, UnchangedWeightsAreNotComparable) {
  add({.method = "resident", .final_weights = "aaa"});
  add({.method = "zo2", .final_weights = "aaa"});
  EXPECT_EQ(only_verdict().verdict, Verdict::not_comparable);
}

TEST_F(ReportTest, DifferentTilesAreNotComparableAndDifferentNumericsNotCompared) {
  add({.method = "resident"});
  add({.method = "zo2", .metrics = {{"tile_bytes", 2 << 20}}});
  add({.method = "zo2", .config = {{"method.writeback_every", 4}}});
  EXPECT_EQ(only_verdict().verdict, Verdict::not_comparable);
}

TEST_F(ReportTest, AFailedRunIsMissing) {
  add({.method = "resident"});
  add({.method = "zo2", .state = State::oom});
  EXPECT_EQ(only_verdict().verdict, Verdict::missing);
}

TEST_F(ReportTest, RatiosAreOfMediansOverGoodRepeats) {
  add({.method = "zo2", .repeat = 0, .tokens_per_s = 80});
  add({.method = "zo2", .repeat = 1, .tokens_per_s = 100});
  add({.method = "zo2", .repeat = 2, .tokens_per_s = 90});
  add({.method = "zo2", .repeat = 3, .state = State::crashed, .tokens_per_s = 1});
  add({.method = "resident", .tokens_per_s = 100});
  add({.method = "mezo", .tokens_per_s = 30});
  const Report result = report();
  std::map<std::string, double> ratios;
  for (const SpeedRatio& ratio : result.ratios) ratios[ratio.methods] = ratio.value;
  EXPECT_EQ(ratios.size(), 3u);
  EXPECT_DOUBLE_EQ(ratios["zo2/resident"], 0.9);
  EXPECT_DOUBLE_EQ(ratios["zo2/mezo"], 3);
  EXPECT_DOUBLE_EQ(ratios["resident/mezo"], 100.0 / 30);
}

class BesideTest : public ReportTest {
 protected:
  static ReferenceFigure figure(const std::string& metric, double value, const std::string& unit) {
    ReferenceFigure figure;
    figure.system = "python-zo2";
    figure.origin = "published";
    figure.method = "zo2";
    figure.model = "opt-1.3b";
    figure.metric = metric;
    figure.value = value;
    figure.unit = unit;
    figure.dtype = "fp16";
    figure.batch = 1;
    figure.seq = 2048;
    figure.gpu = "NVIDIA H100 80GB";
    figure.link = "PCIe 5";
    figure.source = "README";
    return figure;
  }
  // On a GPU; what only these tests need.
  void add_on_gpu(Options options, const std::string& gpu = "NVIDIA H100 80GB HBM3", int generation = 5) {
    options.config.insert({{"model.name", "opt-1.3b"}, {"model.tie_embeddings", false}});
    options.metrics.update({{"pcie_link_generation", generation}, {"pcie_link_width", 16}});
    options.environment = {{"gpu", {{"name", gpu}}}};
    options.result["chosen"]["device"] = "cuda";
    add(options);
  }
  BesideFigure only(const ReferenceFigure& figure) {
    const auto beside = report({figure}).beside;
    EXPECT_EQ(beside.size(), 1u);
    return beside.empty() ? BesideFigure{} : beside[0];
  }
};

TEST_F(BesideTest, APrintedGbIsReadLeastFavourablyToUs) {
  add_on_gpu({.metrics = {{"nvml_step_peak_bytes", 1'500'000'000}}});
  const BesideFigure beside = only(figure("nvml_step_peak_bytes", 3.75, "GB"));
  EXPECT_DOUBLE_EQ(beside.least.value(), 2.5);
  EXPECT_NEAR(beside.most.value(), 2.684, 1e-3);
  EXPECT_EQ(standing(beside), "better");
  EXPECT_EQ(standing(only(figure("nvml_step_peak_bytes", 1.45, "GB"))), "worse") << "though 1.45 GiB would be more";
}

TEST_F(BesideTest, OnlyTheSameShapeAndMethodStandBeside) {
  add_on_gpu({.metrics = {{"nvml_step_peak_bytes", 1'500'000'000}}});
  const ReferenceFigure same = figure("nvml_step_peak_bytes", 3.75, "GB");
  for (const auto& change : std::vector<std::function<void(ReferenceFigure&)>>{
           [](auto& f) { f.seq = 1024; }, [](auto& f) { f.dtype = "fp32"; }, [](auto& f) { f.batch = 8; },
           [](auto& f) { f.tie_embeddings = true; }, [](auto& f) { f.model = "opt-2.7b"; },
           [](auto& f) { f.method = "mezo"; }, [](auto& f) { f.task = "SST2"; }}) {
    ReferenceFigure other = same;
    change(other);
    EXPECT_TRUE(report({other}).beside.empty());
  }
}

TEST_F(BesideTest, ACheckpointIsTiedOrNotAsItWasFoundToBe) {
  add_on_gpu({.config = {{"model.tie_embeddings", nullptr}},
              .metrics = {{"nvml_step_peak_bytes", 1'500'000'000}},
              .result = {{"chosen", {{"tie_embeddings", false}}}}});
  ReferenceFigure theirs = figure("nvml_step_peak_bytes", 3.75, "GB");
  EXPECT_EQ(standing(only(theirs)), "better");
  theirs.tie_embeddings = true;
  EXPECT_TRUE(report({theirs}).beside.empty());
}

TEST_F(BesideTest, SpeedIsComparableOnTheSameGpuAndLinkOnly) {
  add_on_gpu({.tokens_per_s = 200});
  const ReferenceFigure theirs = figure("tokens_per_s", 100, "tok/s");
  EXPECT_DOUBLE_EQ(only(theirs).least.value(), 2);
  ReferenceFigure elsewhere = theirs;
  elsewhere.gpu = "NVIDIA A100 80GB";
  EXPECT_EQ(standing(only(elsewhere)), "NOT-COMPARABLE");
  EXPECT_EQ(only(elsewhere).reason, "processor: NVIDIA H100 80GB HBM3 and NVIDIA A100 80GB");
  elsewhere = theirs;
  elsewhere.link = "PCIe 4";
  EXPECT_EQ(only(elsewhere).reason, "link: PCIe 5 x16 and PCIe 4");
  elsewhere = figure("nvml_step_peak_bytes", 1, "GB");
  elsewhere.gpu = "NVIDIA A100 80GB";
  add_on_gpu({.metrics = {{"nvml_step_peak_bytes", 500'000'000}}});
  EXPECT_EQ(standing(only(elsewhere)), "better") << "memory is comparable across GPUs";
}

TEST_F(BesideTest, AScoreIsShownBesideTheSameTasksWithoutAFactor) {
  add_on_gpu({.config = {{"data.kind", "task"}, {"data.path", "prepared/WSC"}}, .metrics = {{"test_accuracy", 0.6}}});
  ReferenceFigure theirs = figure("test_accuracy", 0, "");
  theirs.set_value("63.46 %");
  theirs.seq = 0;
  EXPECT_TRUE(report({theirs}).beside.empty()) << "no task";
  theirs.task = "WSC";
  EXPECT_DOUBLE_EQ(theirs.readings().least, 0.6346);
  EXPECT_EQ(only(theirs).ours, 0.6);
  EXPECT_EQ(standing(only(theirs)), "NOT-COMPARABLE");
}

TEST_F(BesideTest, AForecastHasMemoryBesideTheirsAndNoSpeed) {
  add_on_gpu({.state = State::projected,
              .config = {{"engine.project", true}},
              .metrics = {{"nvml_projected_bytes", 1'500'000'000}}});
  const BesideFigure memory = only(figure("nvml_step_peak_bytes", 3.75, "GB"));
  EXPECT_TRUE(memory.projected);
  EXPECT_DOUBLE_EQ(memory.least.value(), 2.5);
  EXPECT_EQ(only(figure("tokens_per_s", 100, "tok/s")).reason, "ours is a forecast");
  EXPECT_TRUE(report().measured.empty());
}

TEST_F(ReportTest, WhatWasSpoiledIsOutOfVerdicts) {
  const auto verdict = [&](const std::string& metric) {
    scratch_.write("experiment.json", R"({"name": "e", "expect": [{"where": {}, "metric": ")" + metric +
                                          R"(", "at_least": 1, "source": "us"}]})");
    const auto verdicts = report().expectations;
    EXPECT_EQ(verdicts.size(), 1u);
    return fmt::format("{} {}", verdict_name(verdicts[0].verdict), verdicts[0].reason);
  };
  const Json memory{{"nvml_step_peak_bytes", 1 << 30}};
  add({.state = State::throttled, .metrics = memory});
  EXPECT_EQ(verdict("tokens_per_s"), "NOT-COMPARABLE the GPU was throttled");
  EXPECT_EQ(verdict("nvml_step_peak_bytes"), "PASS ");
  add({.metrics = memory, .result = {{"foreign_gpu_processes", 1}}});
  EXPECT_EQ(verdict("nvml_step_peak_bytes"), "NOT-COMPARABLE another process was on the GPU");
  EXPECT_EQ(verdict("arena_bytes"), "PASS ") << "the arena is the program's own account";
  EXPECT_EQ(verdict("tokens_per_s"), "PASS ");
}

TEST_F(ReportTest, AliasedWeightsHaveNoLossHostMemoryOrEquality) {
  const std::map<std::string, Json> aliased{{"engine.host_weights", "aliased"}};
  add({.method = "resident", .config = aliased});
  add({.method = "zo2", .config = aliased});
  EXPECT_EQ(only_verdict().verdict, Verdict::not_comparable);
  EXPECT_EQ(only_verdict().reason, "host weights are aliased");
  scratch_.write("experiment.json", R"({"name": "e", "expect": [
    {"where": {"method.name": ["zo2"]}, "metric": "loss_last", "at_most": 90, "source": "us"},
    {"where": {"method.name": ["zo2"]}, "metric": "host_rss_peak_bytes", "at_least": 1, "source": "us"},
    {"where": {"method.name": ["zo2"]}, "metric": "tokens_per_s", "at_least": 1, "source": "us"}]})");
  const auto verdicts = report().expectations;
  EXPECT_EQ(verdicts[0].verdict, Verdict::not_comparable);
  EXPECT_EQ(verdicts[1].verdict, Verdict::not_comparable);
  EXPECT_EQ(verdicts[2].verdict, Verdict::pass);
  const std::string table = render_text(to_tables(report())[0]);
  EXPECT_NE(table.find("opt-125m-zo2 *"), std::string::npos) << table;
  EXPECT_EQ(table.find("10.50000"), std::string::npos) << table;
}

TEST_F(ReportTest, AThrottledRepeatLeavesTheVerdictToTheOthers) {
  add({.repeat = 0, .state = State::throttled, .tokens_per_s = 10});
  add({.repeat = 1, .tokens_per_s = 100});
  add({.repeat = 2, .state = State::crashed, .tokens_per_s = 10});
  scratch_.write("experiment.json", R"({"name": "e", "expect": [
    {"where": {}, "metric": "tokens_per_s", "at_least": 90, "source": "us"}]})");
  EXPECT_EQ(report().expectations[0].verdict, Verdict::pass);
  EXPECT_EQ(report().measured[0].tokens_per_s, std::vector<double>{100});
}

TEST_F(ReportTest, ANonFiniteRepeatIsTheWorst) {
  add({.repeat = 0, .metrics = {{"loss_last", "nan"}}});
  add({.repeat = 1});
  scratch_.write("experiment.json", R"({"name": "e", "expect": [
    {"where": {}, "metric": "loss_last", "at_most": 90, "source": "us"}]})");
  EXPECT_EQ(report().expectations[0].verdict, Verdict::fail);
}

TEST_F(ReportTest, ExpectationsAreJudgedByTheWorstRepeat) {
  add({.repeat = 0, .tokens_per_s = 100});
  add({.repeat = 1, .tokens_per_s = 80});
  add({.method = "mezo", .state = State::oom});
  scratch_.write("experiment.json", R"({"name": "e", "expect": [
    {"where": {"method.name": ["zo2"]}, "metric": "tokens_per_s", "at_least": 90, "source": "us"},
    {"where": {"method.name": ["zo2"]}, "metric": "arena_bytes", "at_most": 67108864, "source": "us"},
    {"where": {"method.name": ["mezo"]}, "metric": "tokens_per_s", "at_least": 1, "source": "us"},
    {"where": {"method.name": ["resident"]}, "metric": "tokens_per_s", "at_least": 1, "source": "us"}]})");
  const auto verdicts = report().expectations;
  ASSERT_EQ(verdicts.size(), 4u);
  EXPECT_EQ(verdicts[0].verdict, Verdict::fail);
  EXPECT_EQ(verdicts[0].value, 80);
  EXPECT_EQ(verdicts[1].verdict, Verdict::pass);
  EXPECT_EQ(verdicts[2].verdict, Verdict::missing) << "a failed repeat proves nothing";
  EXPECT_EQ(verdicts[3].verdict, Verdict::missing) << "no such cell";
}

TEST_F(ReportTest, TablesShowUnitsAndStates) {
  add({.method = "resident"});
  add({.method = "zo2", .tokens_per_s = 95});
  add({.method = "mezo", .state = State::oom, .metrics = {{"tokens_per_s", nullptr}}});
  std::string text;
  for (const Table& table : to_tables(report())) text += render_text(table);
  for (const char* part : {"arena MiB", "64.0", "equal", "10.50000 -> 10.25000", "oom", "1 x 2048", "PASS", "0.95"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  }
  const Json json = to_json(report());
  EXPECT_EQ(json["measured"].size(), 3u);
  EXPECT_EQ(json["equality"][0]["verdict"], "PASS");
}

TEST_F(ReportTest, RecordsOfEarlierRunsAreLeftOutUnlessAskedFor) {
  add({.method = "zo2"});
  add({.method = "mezo"});
  const std::string hash = report().records[0].request.config_hash;
  scratch_.write("experiment.json", R"({"name": "e", "cells": [{"config_hash": ")" + hash + "\"}]}");
  EXPECT_EQ(report().records.size(), 1u);
  EXPECT_EQ(report().older_records, 1u);
  EXPECT_EQ(build_report(scratch_.path(), {}, true).records.size(), 2u);
}

TEST_F(ReportTest, RepeatsBeyondThoseOfTheLastRunAndExcludedCellsAreLeftOut) {
  for (int repeat = 0; repeat < 3; ++repeat) add({.repeat = repeat, .tokens_per_s = 100.0 + repeat});
  add({.method = "mezo"});
  std::map<std::string, std::string> hashes;
  for (const Record& record : report().records) hashes[record.request.slug] = record.request.config_hash;
  scratch_.write("experiment.json", fmt::format(R"({{"name": "e", "repeats": 2, "cells": [
      {{"config_hash": "{}", "slug": "a"}}, {{"config_hash": "{}", "slug": "b", "skipped": "too slow"}}]}})",
                                                hashes["opt-125m-zo2"], hashes["opt-125m-mezo"]));
  EXPECT_EQ(report().older_records, 2u);
  ASSERT_EQ(report().measured.size(), 1u);
  EXPECT_EQ(report().measured[0].tokens_per_s, (std::vector<double>{100, 101}));
}

TEST_F(ReportTest, RunsThatAStoppingRuleEndedApartAreNotCompared) {
  const std::map<std::string, Json> stopping{{"train.stop_within", 0.01}};
  add({.method = "resident", .config = stopping});
  add({.method = "zo2", .final_weights = "ccc", .config = stopping, .steps = 8});
  EXPECT_EQ(only_verdict().verdict, Verdict::not_comparable);
  EXPECT_EQ(only_verdict().reason.find("10 steps against 8, ended by train.stop_within"), 0u) << only_verdict().reason;
}

TEST_F(ReportTest, RunsOfDifferentLengthFailWithoutAStoppingRule) {
  add({.method = "resident"});
  add({.method = "zo2", .steps = 8});
  EXPECT_EQ(only_verdict().verdict, Verdict::fail);
}

TEST_F(ReportTest, BothBoundsAreJudgedOnEveryRepeat) {
  add({.repeat = 0, .tokens_per_s = 500});
  add({.repeat = 1, .tokens_per_s = 10});
  const auto judged = [&](int at_most, int at_least) {
    scratch_.write("experiment.json",
                   fmt::format(R"({{"name": "e", "expect": [{{"where": {{}}, "metric": "tokens_per_s",
        "at_most": {}, "at_least": {}, "source": "us"}}]}})",
                               at_most, at_least));
    return report().expectations[0];
  };
  EXPECT_EQ(judged(1000, 50).verdict, Verdict::fail);
  EXPECT_EQ(judged(1000, 50).value, 10);
  EXPECT_EQ(judged(400, 5).verdict, Verdict::fail);
  EXPECT_EQ(judged(400, 5).value, 500);
  EXPECT_EQ(judged(500, 10).verdict, Verdict::pass);
}

TEST_F(ReportTest, AnEmptyFolderIsAnError) { EXPECT_THROW(report(), IoError); }

TEST(Table, AlignsNumbersRightAndWordsLeft) {
  EXPECT_EQ(render_text({"Title", {"name", "n"}, {{"a", "5"}, {"long", "123"}}, {"note"}}),
            "Title\n"
            "name    n\n"
            "----  ---\n"
            "a       5\n"
            "long  123\n"
            "note\n");
}

TEST(Table, MarkdownHasAlignmentAndEscapedBars) {
  EXPECT_EQ(render_markdown({"Title", {"name", "n"}, {{"a|b", "5"}}, {"* note"}}),
            "## Title\n\n"
            "| name | n |\n"
            "| --- | ---: |\n"
            "| a\\|b | 5 |\n\n"
            "- \\* note\n");
}

TEST(Table, CsvQuotesWhatNeedsIt) {
  EXPECT_EQ(render_csv({"Title", {"name", "n"}, {{"a, \"b\"", "-"}, {"c", "5"}}, {"note"}}),
            "name,n\n"
            "\"a, \"\"b\"\"\",\n"
            "c,5\n");
}

TEST(Reference, PublishedFilesAreReadAsPrinted) {
  const auto folder = std::filesystem::path(__FILE__).parent_path() / "../../experiments/reference";
  const auto figures = read_references(folder);
  std::map<std::string, double> published;
  bool mezo_wsc = false;
  for (const ReferenceFigure& figure : figures) {
    EXPECT_FALSE(figure.source.empty());
    EXPECT_FALSE(figure.how_read.empty());
    if (figure.origin == "published" && figure.task.empty()) published[figure.model] = figure.value;
    mezo_wsc = mezo_wsc || (figure.method == "mezo" && figure.task == "WSC" && figure.value == 63.46);
  }
  EXPECT_TRUE(mezo_wsc);
  EXPECT_EQ(published.size(), 7u);
  EXPECT_EQ(published["opt-1.3b"], 3.75);
  EXPECT_EQ(published["opt-175b"], 18.04);
}

TEST(Reference, AMistakeIsNamedWithItsLine) {
  const TempFolder scratch;
  const auto problem = [&](const std::string& text) -> std::string {
    try {
      read_reference(scratch.write("r.yaml", text));
    } catch (const UsageError& error) {
      return error.what();
    }
    return "";
  };
  const std::string good = "model: m, system: s, source: t, origin: measured, method: zo2, ";
  EXPECT_NE(problem("figures:\n  - {" + good + "metric: speed, value: 1 s}").find("r.yaml:2: unknown metric 'speed'"),
            std::string::npos);
  EXPECT_NE(problem("figures:\n  - {" + good + "metric: wall_s, value: 1}").find("needs a unit"), std::string::npos);
  EXPECT_NE(problem("figures:\n  - {" + good + "metric: wall_s, value: 1 GB}").find("wall_s is in s"),
            std::string::npos);
  EXPECT_NE(problem("figures:\n  - {metric: wall_s, value: 1 s}").find("needs system"), std::string::npos);
  EXPECT_NE(problem("figures: [").find("r.yaml:"), std::string::npos);
  EXPECT_THROW(read_reference(scratch.path() / "absent.yaml"), IoError);
  EXPECT_THROW(read_references(scratch.path() / "absent"), IoError);
}

}  // namespace
}  // namespace zo2

#include "experiment/import.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "experiment/compare.h"
#include "experiment/config_schema.h"
#include "experiment/report.h"
#include "experiment/synthetic_records.h"

namespace zo2 {
namespace {

using testing::message_of;

class ImportTest : public SyntheticRecords {
 protected:
  // A line that is right, with members replaced; null takes one out.
  static std::string line(const Json& changes = Json::object()) {
    Json json{
        {"model.name", "opt-125m"}, {"model.tie_embeddings", true}, {"engine.dtype", "fp16"}, {"data.batch", 1},
        {"data.seq", 2048},         {"method.name", "zo2"},         {"tokens_per_s", 50},     {"source", "run.log"}};
    json.merge_patch(changes);
    return json.dump() + "\n";
  }
  size_t import(const std::string& text, const std::string& name = "python-zo2") {
    return import_records(scratch_.write("lines.jsonl", text), name, scratch_.path());
  }
};

TEST_F(ImportTest, LinesStandBesideOursAndAreNotMixedWithThem) {
  add({.tokens_per_s = 100, .metrics = {{"nvml_step_peak_bytes", 1'000'000'000}}});
  EXPECT_EQ(import(line({{"nvml_step_peak_bytes", "3 GB"}})), 1u);
  const Report report = build_report(scratch_.path(), {});
  EXPECT_EQ(report.records.size(), 1u) << "not a record of ours";
  EXPECT_EQ(report.measured.size(), 1u);
  ASSERT_EQ(report.beside.size(), 2u);
  EXPECT_EQ(report.beside[0].theirs.origin, "imported");
  EXPECT_DOUBLE_EQ(report.beside[0].least.value(), 2);  // tokens_per_s
  EXPECT_DOUBLE_EQ(report.beside[1].least.value(), 3);
  EXPECT_GT(report.beside[1].most.value(), 3.2) << "a printed GB may be a GiB";
}

TEST_F(ImportTest, EqualLinesAreRepeatsAndTheirMedianCounts) {
  add({});
  EXPECT_EQ(import(line() + "\n" + line({{"tokens_per_s", 60}}) + line({{"tokens_per_s", 70}})), 3u);
  const auto figures = figures_of(read_imported_records(scratch_.path()));
  ASSERT_EQ(figures.size(), 1u);
  EXPECT_EQ(figures[0].value, 60);
  EXPECT_EQ(read_imported_records(scratch_.path())[2].request.repeat, 2);
}

TEST_F(ImportTest, ASecondImportReplacesTheFirst) {
  import(line() + line());
  import(line({{"tokens_per_s", 7}}));
  import(line(), "other");
  const auto records = read_imported_records(scratch_.path());
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[0].system(), "other");
  EXPECT_EQ(records[1].metric("tokens_per_s"), 7);
}

TEST_F(ImportTest, EveryMistakeIsNamedWithItsLineAndTheOldRecordsStay) {
  import(line());
  const std::string errors = message_of<UsageError>([&] {
    import(line({{"token_per_s", 1}}) + line({{"data.batchs", 1}}) + line({{"data.seq", nullptr}}) +
           line({{"engine.dtype", "fp8"}}) + line({{"wall_s", "long"}}) + line({{"source", nullptr}}) + "{\n" +
           line({{"tokens_per_s", nullptr}}) + line({{"nvml_step_peak_bytes", "3 Gb"}}));
  });
  for (const char* part :
       {":1: unknown member 'token_per_s': did you mean 'tokens_per_s'?",
        ":2: unknown member 'data.batchs': did you mean 'data.batch'?", ":3: 'data.seq' is needed",
        ":4: engine.dtype: expected one of fp32, fp16, bf16", ":5: 'wall_s': expected a number in s",
        ":6: 'source' is needed", ":7: ", ":8: there is no figure", ":9: 'nvml_step_peak_bytes': '3 Gb'"}) {
    EXPECT_NE(errors.find(part), std::string::npos) << part << "\n" << errors;
  }
  EXPECT_EQ(read_imported_records(scratch_.path()).size(), 1u);
  EXPECT_THROW(import_records(scratch_ / "absent", "a", scratch_.path()), IoError);
  EXPECT_THROW(import(line(), "../escape"), UsageError);
}

TEST_F(ImportTest, AnAccuracyStandsBesideOursOnTheSameTask) {
  add({.config = {{"data.kind", "task"}, {"data.path", "tasks/sst2"}}, .metrics = {{"test_accuracy", 0.9}}});
  for (const auto& [task, beside] : std::map<std::string, size_t>{{"elsewhere/sst2", 1}, {"tasks/rte", 0}}) {
    import(line({{"data.kind", "task"}, {"data.path", task}, {"test_accuracy", 0.8}, {"tokens_per_s", nullptr}}));
    EXPECT_EQ(build_report(scratch_.path(), {}).beside.size(), beside) << task;
  }
}

TEST_F(ImportTest, ComparesWithOursOnTheKeysThatTheLineTells) {
  for (int repeat = 0; repeat < 5; ++repeat) {
    add({.repeat = repeat, .tokens_per_s = 100, .config = {{"method.lr", 1e-5}, {"train.steps", 7}}});
  }
  std::string lines;
  for (int repeat = 0; repeat < 5; ++repeat) lines += line({{"tokens_per_s", 50}});
  import(lines);
  const auto sides = [&] {
    return compare(read_side((scratch_.path() / "imported" / "python-zo2").string()),
                   read_side(scratch_.path().string()), {.metrics = {"tokens_per_s"}, .ignore = {}});
  };
  const Comparison comparison = sides();
  ASSERT_EQ(comparison.cells.size(), 1u);
  EXPECT_TRUE(comparison.cells[0].config.empty()) << "lr and steps were not told";
  EXPECT_EQ(comparison.cells[0].metrics[0].change, Change::better);
  import(line({{"method.lr", 1e-3}}));
  EXPECT_THROW(sides(), UsageError) << "a learning rate that is told differs";
}

}  // namespace
}  // namespace zo2

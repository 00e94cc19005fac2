#include "experiment/external.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/standin_nvml.h"
#include "experiment/config_schema.h"
#include "experiment/record.h"
#include "experiment/repeat_result.h"
#include "experiment/runner.h"
#include "support.h"

namespace zo2 {
namespace {

using testing::TempFolder;
using Words = std::vector<std::string>;

Json config_with(const Words& command) {
  Json config = default_config();
  config_set(config, "method.name", "external");
  config_set(config, "method.command", command);
  return config;
}

// The report on a process that ended with `exit_code` after it wrote these.
Json report_on(const std::string& output, int exit_code = 0, const std::string& errors = "") {
  const TempFolder scratch;
  scratch.write("stdout.log", output);
  scratch.write("stderr.log", errors);
  const Json config = config_with({"x"});
  report_external(scratch.path(), config, "hash", {.exit_code = exit_code});
  return result_of(scratch.path(), "hash", {.exit_code = exit_code});
}

TEST(ExternalCommand, PlaceholdersBecomeValues) {
  Json config = config_with({"python3", "run.py", "--model={model}", "{batch}x{seq}", "{dtype}", "{steps},{warmup}",
                             "{data.seed}", "{\"a\": 1}", "{}"});
  EXPECT_EQ(external_command(config),
            (Words{"python3", "run.py", "--model=opt-125m", "1x2048", "fp16", "30,15", "42", "{\"a\": 1}", "{}"}));
  config_set(config, "model.path", "some/folder");
  EXPECT_EQ(external_command(config)[2], "--model=some/folder");
  EXPECT_THROW(external_command(config_with({"x", "{sequence}"})), UsageError);
  EXPECT_THROW(external_command(config_with({})), UsageError);
  Json projected = config_with({"x"});
  config_set(projected, "engine.project", true);
  EXPECT_THROW(external_command(projected), UsageError);
}

TEST(ExternalCommand, ItsHashChangesWithTheFilesThatItNames) {
  const TempFolder scratch;
  const std::string script = scratch.write("x.py", "1").string();
  const std::string before = external_sha256({"python3", script});
  EXPECT_EQ(external_sha256({"python3", script}), before);
  EXPECT_NE(external_sha256({"python3", script, "-v"}), before);
  scratch.write("x.py", "2");
  EXPECT_NE(external_sha256({"python3", script}), before);
}

TEST(ExternalReport, TheLastMarkedLineIsTheResult) {
  const Json result = report_on(
      "noise\nRESULT {\"tokens_per_s\": 1}\nRESULT {\"tokens_per_s\": 2.5, \"arena_bytes\": 7, \"loss_last\": \"nan\", "
      "\"device\": \"cuda\", \"note\": \"hi\", \"step_ms_p50\": \"fast\"}\nnot a RESULT {}\n");
  EXPECT_EQ(result["state"], "ok");
  EXPECT_EQ(result["metrics"]["tokens_per_s"], 2.5);
  EXPECT_EQ(result["metrics"]["arena_bytes"], 7);
  EXPECT_EQ(result["metrics"]["loss_last"], "nan");
  EXPECT_EQ(result["chosen"]["device"], "cuda");
  EXPECT_EQ(result["extra"], Json({{"note", "hi"}, {"step_ms_p50", "fast"}}));
  ASSERT_EQ(result["warnings"].size(), 1u);
  EXPECT_TRUE(result["warnings"][0].get<std::string>().ends_with("note, step_ms_p50"));
}

TEST(ExternalReport, AFailureSaysWhy) {
  const Json silent = report_on("hello\n");
  EXPECT_EQ(silent["state"], "crashed");
  EXPECT_EQ(silent["error"], "it printed no line that begins with 'RESULT '");
  EXPECT_EQ(silent["stderr_tail"], "hello") << "its output, where standard error is empty";
  const Json bad = report_on("RESULT 5\n");
  EXPECT_EQ(bad["state"], "crashed");
  EXPECT_NE(bad["error"].get<std::string>().find("expected a JSON object, found '5'"), std::string::npos);
  EXPECT_EQ(report_on("RESULT {\"state\": \"splendid\"}\n")["state"], "crashed");
  const Json failed = report_on("", 3, "Traceback\n");
  EXPECT_EQ(failed["state"], "crashed");
  EXPECT_EQ(failed["error"], "ended with exit code 3");
  EXPECT_EQ(failed["stderr_tail"], "Traceback");
  EXPECT_EQ(report_on("RESULT {\"tokens_per_s\": 1}\n", 1)["state"], "crashed") << "a good line before a bad end";
}

TEST(ExternalReport, OutOfMemoryIsAState) {
  EXPECT_EQ(report_on("RESULT {\"state\": \"oom\", \"error\": \"no room\"}\n")["state"], "oom");
  EXPECT_EQ(report_on("RESULT {\"state\": \"oom\", \"error\": \"no room\"}\n", 1)["error"], "no room");
  EXPECT_EQ(report_on("", 1, "torch.OutOfMemoryError: CUDA out of memory. Tried to\n")["state"], "oom");
  EXPECT_EQ(report_on("RuntimeError: CUDA error: out of memory\n", 1)["state"], "oom");
  EXPECT_EQ(report_on("RESULT {\"tokens_per_s\": 1}\n", 0, "CUDA out of memory, trying a smaller batch\n")["state"],
            "ok");
}

class ExternalRun : public ::testing::Test {
 protected:
  Record run(const std::string& command) {
    const auto manifest = scratch_.write(
        "m.yaml", "name: test\ndefaults: {data.seq: 8, method: {name: external, command: " + command + "}}\n");
    run_experiment(load_experiment(manifest), {.out = scratch_ / "out", .quiet = true});
    return read_records(scratch_ / "out").at(0);
  }
  TempFolder scratch_;
  testing::ScopedVariable no_gpu_{"ZO2_NVML_LIBRARY", "/nowhere.so"};
};

TEST_F(ExternalRun, AProgramIsMeasuredAsACell) {
  const auto script = scratch_.write("other.sh", "sleep 0.05; echo 'RESULT {\"tokens_per_s\": '$1'}'\n");
  const Record record = run("[sh, " + script.string() + ", '{seq}']");
  EXPECT_EQ(record.state, State::ok);
  EXPECT_EQ(record.metric("tokens_per_s"), 8);
  EXPECT_GT(record.metric("wall_s").value(), 0);
  EXPECT_GT(record.bytes("host_rss_peak_bytes").value(), 100 << 10);
  EXPECT_EQ(record.request.slug, "opt-125m-external");
  // Reused until the script changes, whatever the build of ours.
  const auto begun = [&] { return run("[sh, " + script.string() + ", '{seq}']").result["started_utc"]; };
  const Json started = begun();
  EXPECT_EQ(started, record.result["started_utc"]);
  scratch_.write("other.sh", "echo 'RESULT {\"tokens_per_s\": 1}'\n");
  EXPECT_EQ(run("[sh, " + script.string() + ", '{seq}']").metric("tokens_per_s"), 1);
}

TEST_F(ExternalRun, AProgramThatIsNotThereIsARecord) {
  const Record record = run("[/nowhere/python, x.py]");
  EXPECT_EQ(record.state, State::crashed);
  EXPECT_EQ(record.result["error"], "cannot start /nowhere/python: No such file or directory");
}

TEST_F(ExternalRun, ABadCommandIsRefusedBeforeAnythingRuns) {
  EXPECT_THROW(run("[sh, '{sequence}']"), UsageError);
  EXPECT_THROW(run("sh"), UsageError);
  EXPECT_THROW(run("[sh, [x]]"), UsageError);
  EXPECT_FALSE(std::filesystem::exists(scratch_ / "out" / "experiment.json"));
}

}  // namespace
}  // namespace zo2

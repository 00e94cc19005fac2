// The runner with shell scripts in place of the program: a script gets the repeat's folder as $1.
#include "experiment/runner.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <thread>

#include "base/error.h"
#include "base/sha256.h"
#include "base/standin_nvml.h"
#include "experiment/environment.h"
#include "experiment/process.h"
#include "experiment/sweep_folder.h"
#include "support.h"

namespace zo2 {
namespace {

using testing::TempFolder;
namespace fs = std::filesystem;

constexpr const char* kSucceed =
    R"(echo '{"schema":1,"state":"ok","metrics":{"tokens_per_s":5}}' > "$1/reported.json")";

class RunnerTest : public ::testing::Test {
 protected:
  Experiment experiment(const std::string& rest = "") {
    return load_experiment(scratch_.write("m.yaml", "name: test\ndefaults: {data.seq: 8}\n" + rest));
  }
  RunSummary run(const Experiment& experiment, const std::string& script, RunOptions options = {}) {
    options.out = out();
    options.child = {"/bin/sh", scratch_.write("child.sh", "#!/bin/sh\n" + script + "\n").string()};
    options.grace_s = 0.3;
    options.quiet = true;
    return run_experiment(experiment, options);
  }
  // A script that notes that it ran before it does the rest.
  std::string counted(const std::string& rest) {
    return "echo ran >> " + (scratch_.path() / "runs").string() + "; " + rest;
  }
  int64_t runs() {
    std::ifstream stream(scratch_.path() / "runs");
    return std::count(std::istreambuf_iterator<char>(stream), {}, '\n');
  }
  void pretend_another_program() {
    for (const Record& record : read_records(out())) {
      Json environment = read_json(record.folder / "env.json");
      environment["binary_sha256"] = "another program";
      write_file_atomically(record.folder / "env.json", environment.dump());
    }
  }
  Record only_record() { return read_records(out()).at(0); }
  fs::path out() const { return scratch_.path() / "out"; }

  TempFolder scratch_;
  testing::ScopedVariable no_gpu_{"ZO2_NVML_LIBRARY", "/nowhere.so"};  // the same on every machine
};

TEST_F(RunnerTest, AGoodRepeatLeavesACompleteRecord) {
  const Experiment one = experiment();
  const RunSummary summary = run(one, std::string("echo hello; echo oh >&2; cat > /dev/null; sleep 0.05; ") + kSucceed);
  EXPECT_EQ(summary.exit_code(), 0);
  EXPECT_EQ(summary.count(State::ok), 1);
  const fs::path folder = out() / "cells" / one.cells[0].folder_name() / "r0";
  const Record record = read_record(folder).value();
  EXPECT_EQ(record.state, State::ok);
  EXPECT_EQ(record.result["config_hash"], one.cells[0].config_hash);
  EXPECT_EQ(record.metric("tokens_per_s"), 5) << "what the child reported is kept";
  EXPECT_GT(record.metric("wall_s").value(), 0);
  EXPECT_GT(record.bytes("host_rss_peak_bytes").value(), 100 << 10);
  EXPECT_EQ(record.result["exit_code"], 0);
  EXPECT_EQ(record.request.config, one.cells[0].config);
  EXPECT_EQ(fs::file_size(folder / "stdout.log"), 6u);
  EXPECT_EQ(fs::file_size(folder / "stderr.log"), 3u);
  const Json environment = read_json(folder / "env.json");
  for (const char* key : {"cpu_model", "cores", "memory_bytes", "kernel", "compiler", "git_commit", "binary_sha256"}) {
    EXPECT_TRUE(environment.contains(key)) << key;
  }
  char host[256] = "";
  gethostname(host, sizeof host);
  EXPECT_EQ(environment.dump().find('"' + std::string(host)), std::string::npos);
  EXPECT_EQ(environment.dump().find(scratch_.path().string()), std::string::npos);
}

TEST_F(RunnerTest, ASignalIsACrashWithTheLastWordsOfTheProcess) {
  const RunSummary summary = run(experiment(), "echo 'about to fail' >&2; kill -SEGV $$");
  EXPECT_EQ(summary.exit_code(), 3);
  const Record record = only_record();
  EXPECT_EQ(record.state, State::crashed);
  EXPECT_EQ(record.result["signal"], "SIGSEGV");
  EXPECT_EQ(record.result["error"], "ended by SIGSEGV");
  EXPECT_NE(record.result["stderr_tail"].get<std::string>().find("about to fail"), std::string::npos);
}

TEST_F(RunnerTest, ARepeatWithoutAResultHasCrashedWhateverItsExitCode) {
  run(experiment(), "exit 7");
  EXPECT_EQ(only_record().result["error"], "ended with exit code 7");
  const RunOptions again{.retry_failed = true};
  run(experiment(), "exit 0", again);
  EXPECT_EQ(only_record().state, State::crashed);
  EXPECT_EQ(only_record().result["error"], "ended without a result");
  run(experiment(), R"(echo '{"state": "o' > "$1/reported.json")", again);
  EXPECT_EQ(only_record().state, State::crashed);
  EXPECT_NE(only_record().result["error"].get<std::string>().find("cannot be read"), std::string::npos);
  run(experiment(), std::string(kSucceed) + "; exit 1", again);
  EXPECT_EQ(only_record().state, State::crashed) << "a good result before a bad end";
}

TEST_F(RunnerTest, TheStateThatTheProcessReportsIsKept) {
  for (const char* state : {"oom", "diverged"}) {
    const RunSummary summary = run(
        experiment(), std::string(R"(echo '{"state":")") + state + R"(","error":"why"}' > "$1/reported.json"; exit 1)",
        {.rerun = true});
    EXPECT_EQ(summary.exit_code(), 3);
    EXPECT_EQ(state_name(only_record().state), state);
    EXPECT_EQ(only_record().result["error"], "why");
    EXPECT_EQ(only_record().result["exit_code"], 1);
  }
}

TEST_F(RunnerTest, AHangingRepeatIsStoppedAndTheSweepGoesOn) {
  const auto start = std::chrono::steady_clock::now();
  const RunSummary summary = run(experiment("timeout: 0.2\nmatrix: {method.name: [zo2, mezo]}"),
                                 std::string("case $1 in *m-zo2-*) trap '' TERM; sleep 30;; esac; ") + kSucceed);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
  ASSERT_EQ(summary.repeats.size(), 2u);
  EXPECT_EQ(summary.repeats[0].state, State::timeout);
  EXPECT_EQ(summary.repeats[1].state, State::ok);
  EXPECT_EQ(summary.exit_code(), 3);
}

TEST_F(RunnerTest, RepeatsAreInterleavedAndSkippedCellsRecordedOnce) {
  const RunSummary summary = run(experiment("repeats: 2\nmatrix: {method.name: [zo2, mezo, resident]}\n"
                                            "exclude: [{where: {method.name: mezo}, reason: too slow}]"),
                                 kSucceed);
  std::string order;
  for (const RepeatOutcome& outcome : summary.repeats) {
    order += outcome.folder.parent_path().filename().string().substr(9, 3) + outcome.folder.filename().string() + " ";
  }
  EXPECT_EQ(order, "zo2r0 mezr0 resr0 zo2r1 resr1 ");
  EXPECT_EQ(summary.exit_code(), 0);
  const auto records = read_records(out());
  ASSERT_EQ(records.size(), 5u);
  EXPECT_EQ(records[2].state, State::skipped);
  EXPECT_EQ(records[2].result["reason"], "too slow");
}

TEST_F(RunnerTest, WhatWasMeasuredBeforeACellWasExcludedIsKept) {
  run(experiment("repeats: 2"), kSucceed);
  const std::string excluding = "repeats: 2\nexclude: [{where: {method.name: zo2}, reason: too slow}]";
  run(experiment(excluding), kSucceed);
  auto records = read_records(out());
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[0].state, State::ok);
  run(experiment("repeats: 2"), "exit 1");
  EXPECT_EQ(read_records(out())[0].state, State::ok) << "and used again once it is back";
}

TEST_F(RunnerTest, WhatFailedBeforeACellWasExcludedIsSkipped) {
  EXPECT_EQ(run(experiment("repeats: 1"), "exit 1").exit_code(), 3);
  const RunSummary summary =
      run(experiment("repeats: 1\nexclude: [{where: {method.name: zo2}, reason: too slow}]"), kSucceed);
  EXPECT_EQ(summary.exit_code(), 0);
  EXPECT_EQ(only_record().state, State::skipped);
}

TEST_F(RunnerTest, OnlyWhatIsNotThereRunsAgain) {
  const Experiment first = experiment("matrix: {method.name: [zo2, mezo]}");
  EXPECT_EQ(run(first, counted("case $1 in *mezo*) exit 1;; esac; ") + kSucceed).exit_code(), 3);
  EXPECT_EQ(runs(), 2);
  const RunSummary second = run(first, counted(kSucceed));
  EXPECT_EQ(runs(), 2) << "a failure is a result";
  EXPECT_EQ(second.exit_code(), 3);
  EXPECT_TRUE(second.repeats[0].reused && second.repeats[1].reused);
  const RunSummary third = run(first, counted(kSucceed), {.retry_failed = true});
  EXPECT_EQ(runs(), 3) << "the failed one";
  EXPECT_FALSE(third.repeats[1].reused);
  EXPECT_EQ(third.exit_code(), 0);

  run(experiment("matrix: {method.name: [zo2, mezo], data.batch: [1, 2]}"), counted(kSucceed));
  EXPECT_EQ(runs(), 5) << "two new cells; the old ones keep their folders although their slugs have grown";

  pretend_another_program();
  run(first, counted(kSucceed), {.accept_build = true});
  EXPECT_EQ(runs(), 5) << "asked not to mind";
  run(first, counted(kSucceed));
  EXPECT_EQ(runs(), 7) << "another program made those records";
}

TEST_F(RunnerTest, ARerunReplacesOnlyWhatItFinishes) {
  const Experiment both = experiment("matrix: {method.name: [zo2, mezo]}");
  run(both, std::string("echo first > $1/note; ") + kSucceed);
  const auto note = [&](int index) {
    std::ifstream stream(read_records(out()).at(static_cast<size_t>(index)).folder / "note");
    return std::string{std::istreambuf_iterator<char>(stream), {}};
  };
  // The second one is interrupted, while the first record is still there for all to see.
  const RunSummary summary =
      run(both,
          "case $1 in *mezo*) test -e $1/../r0/result.json && echo seen > " + (scratch_ / "seen").string() +
              "; kill -INT " + std::to_string(getpid()) + "; exec sleep 30;; esac; echo again > $1/note; " + kSucceed,
          {.rerun = true});
  EXPECT_TRUE(summary.interrupted);
  EXPECT_EQ(note(0), "again\n");
  EXPECT_EQ(note(1), "first\n") << "an interrupted attempt does not replace a finished record";
  EXPECT_EQ(read_records(out()).at(1).state, State::ok);
  EXPECT_TRUE(fs::exists(scratch_ / "seen"));
}

TEST_F(RunnerTest, OnlySelectedRepeatsAreRunAndRecorded) {
  const Experiment both = experiment("repeats: 2\nmatrix: {method.name: [zo2, mezo]}");
  const RunSummary summary = run(both, kSucceed, {.selection = {.only = {"method.name=mezo"}, .shard = {2, 2}}});
  ASSERT_EQ(summary.repeats.size(), 1u);
  const auto records = read_records(out());
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].request.slug, "opt-125m-mezo");
  EXPECT_EQ(records[0].request.repeat, 1);
  EXPECT_EQ(read_json(out() / "experiment.json")["cells"].size(), 2u) << "the experiment is the whole one";
  EXPECT_THROW(run(both, kSucceed, {.selection = {.only = {"nothing"}}}), UsageError);
}

TEST_F(RunnerTest, WhatAKilledRerunLeftIsTidiedAwayAndTheRecordReused) {
  const Experiment one = experiment();
  run(one, counted(kSucceed));
  const fs::path left = out() / "cells" / one.cells[0].folder_name() / "new-r0";
  fs::create_directory(left);
  const RunSummary summary = run(one, counted(kSucceed));
  EXPECT_TRUE(summary.repeats.at(0).reused);
  EXPECT_EQ(runs(), 1);
  EXPECT_FALSE(fs::exists(left));
}

TEST_F(RunnerTest, ARepeatThatAnotherRunnerHasIsWaitedForAndReused) {
  const Experiment one = experiment();
  const fs::path cell = out() / "cells" / one.cells[0].folder_name();
  auto other = RepeatFolder::lock(cell, 0, [] { return false; });
  ASSERT_TRUE(other);
  RunSummary summary;
  std::thread runner([&] { summary = run(one, counted(kSucceed), {.selection = {.shard = {1, 2}}}); });
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_EQ(runs(), 0);
  other->begin();
  write_file_atomically(other->attempt() / "config.json",
                        to_json(CellRequest{"test", "x", 0, one.cells[0].config_hash, one.cells[0].config}).dump());
  write_file_atomically(other->attempt() / "env.json", Json{{"binary_sha256", sha256_hex_of_file("/bin/sh")}}.dump());
  write_result(other->attempt(), make_result(State::ok, one.cells[0].config_hash));
  other->accept();
  other.reset();
  runner.join();
  EXPECT_EQ(runs(), 0);
  ASSERT_EQ(summary.repeats.size(), 1u);
  EXPECT_TRUE(summary.repeats[0].reused);
}

TEST_F(RunnerTest, AProcessStartsInAnEmptyFolder) {
  run(experiment(), "echo 1 > $1/samples.jsonl; " + std::string(kSucceed) + "; exit 1");
  run(experiment(), R"(test ! -e "$1/reported.json" && test ! -e "$1/samples.jsonl" && )" + std::string(kSucceed),
      {.retry_failed = true});
  EXPECT_EQ(only_record().state, State::ok);
}

TEST_F(RunnerTest, AnInterruptionFinishesTheRecordAndEndsTheSweep) {
  std::thread killer([&] {
    while (!fs::exists(scratch_.path() / "started")) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    kill(getpid(), SIGINT);
  });
  const RunSummary summary = run(experiment("matrix: {method.name: [zo2, mezo]}"),
                                 "touch " + (scratch_.path() / "started").string() + "; exec sleep 30");
  killer.join();
  EXPECT_TRUE(summary.interrupted);
  EXPECT_EQ(summary.exit_code(), 130);
  ASSERT_EQ(summary.repeats.size(), 1u);
  EXPECT_EQ(only_record().state, State::interrupted);
  EXPECT_EQ(run(experiment("matrix: {method.name: [zo2, mezo]}"), kSucceed).exit_code(), 0) << "resumes";
}

TEST_F(RunnerTest, WhatTheProcessLeavesBehindIsKilled) {
  const fs::path pid_file = scratch_.path() / "pid";
  run(experiment(), "sleep 30 & echo $! > " + pid_file.string() + "; " + kSucceed);
  pid_t orphan = 0;
  std::ifstream(pid_file) >> orphan;
  ASSERT_GT(orphan, 0);
  const auto gone = [&] {
    std::ifstream stream("/proc/" + std::to_string(orphan) + "/stat");
    std::string text{std::istreambuf_iterator<char>(stream), {}};
    return text.empty() || text.find(") Z") != std::string::npos;
  };
  for (int i = 0; i < 200 && !gone(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_TRUE(gone());
}

TEST_F(RunnerTest, TheHarnessCostsLittleBesideTheProcessesThemselves) {
  constexpr int kRepeats = 20;
  const Experiment twenty = experiment("repeats: " + std::to_string(kRepeats));
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(run(twenty, kSucceed).exit_code(), 0);
  double cost_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  for (const Record& record : read_records(out())) cost_s -= record.metric("wall_s").value();
  RecordProperty("milliseconds_a_repeat", static_cast<int>(1000 * cost_s / kRepeats));
  EXPECT_LT(cost_s / kRepeats, 0.3);
}

TEST_F(RunnerTest, RefusesAnOutputThatItCannotWriteAndAProgramThatIsNotThere) {
  const fs::path file = scratch_.write("file", "");
  EXPECT_THROW(run_experiment(experiment(), {.out = file / "out", .child = {"/bin/sh"}}), IoError);
  EXPECT_THROW(run_experiment(experiment(), {.out = out(), .child = {"/nowhere/zo2"}}), Error);
  EXPECT_THROW(run_experiment(experiment(), {.out = out(), .child = {"/"}}), Error);
}

TEST(Environment, TheCommitIsThatOfTheProgramsSources) {
  const TempFolder scratch;
  const fs::path program = scratch.write("zo2", "a program");
  const Nvml nvml;
  EXPECT_EQ(describe_environment(program, nvml)["git_commit"], "unknown");
  scratch.write("zo2.commit", "0123abcd-dirty\n");
  EXPECT_EQ(describe_environment(program, nvml)["git_commit"], "0123abcd-dirty");
}

TEST(Process, ReportsItsPeakMemory) {
  const TempFolder scratch;
  const std::string fifo = scratch.path() / "fifo";
  // Its reader waits, so that the process is there with its 200 MiB for a while: a test program that is larger itself,
  // as with sanitizers, has only what it sees meanwhile.
  ProcessSpec spec{
      .command = {"/bin/sh", "-c",
                  "mkfifo " + fifo + "; (exec 3<" + fifo +
                      "; sleep 0.5; cat <&3 >/dev/null) & exec dd if=/dev/zero of=" + fifo + " bs=200M count=1"},
      .stdout_path = scratch.path() / "out",
      .stderr_path = scratch.path() / "err"};
  const ProcessResult result = run_process(spec);
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_GT(result.rss_peak_bytes, 200'000'000);
  EXPECT_LT(result.rss_peak_bytes, 300'000'000);
}

TEST(Process, GivesBackTheSignalHandlers) {
  struct sigaction before{};
  struct sigaction after{};
  sigaction(SIGINT, nullptr, &before);
  {
    InterruptGuard guard;
  }
  sigaction(SIGINT, nullptr, &after);
  EXPECT_EQ(before.sa_handler, after.sa_handler);
}

}  // namespace
}  // namespace zo2

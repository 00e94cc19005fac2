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
#include "base/standin_nvml.h"
#include "experiment/process.h"
#include "support.h"

namespace zo2 {
namespace {

using testing::TempFolder;
namespace fs = std::filesystem;

constexpr const char* kSucceed = R"(echo '{"schema":1,"state":"ok","metrics":{"tokens_per_s":5}}' > "$1/result.json")";

class RunnerTest : public ::testing::Test {
 protected:
  Experiment experiment(const std::string& rest = "") {
    return load_experiment(scratch_.write("m.yaml", "name: test\ndefaults: {data.seq: 8}\n" + rest));
  }
  RunSummary run(const Experiment& experiment, const std::string& script) {
    const fs::path file = scratch_.write("child.sh", "#!/bin/sh\n" + script + "\n");
    RunOptions options{.out = out(), .child = {"/bin/sh", file.string()}};
    options.grace_s = 0.3;
    options.quiet = true;
    return run_experiment(experiment, options);
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
  run(experiment(), "exit 0");
  EXPECT_EQ(only_record().state, State::crashed);
  EXPECT_EQ(only_record().result["error"], "ended without a result");
  run(experiment(), R"(echo '{"state": "o' > "$1/result.json")");
  EXPECT_EQ(only_record().state, State::crashed);
  run(experiment(), std::string(kSucceed) + "; exit 1");
  EXPECT_EQ(only_record().state, State::crashed) << "a good result before a bad end";
}

TEST_F(RunnerTest, TheStateThatTheProcessReportsIsKept) {
  for (const char* state : {"oom", "diverged"}) {
    const RunSummary summary = run(
        experiment(), std::string(R"(echo '{"state":")") + state + R"(","error":"why"}' > "$1/result.json"; exit 1)");
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

TEST_F(RunnerTest, OnlyWhatIsNotFinishedRunsAgain) {
  const std::string script = "echo ran >> " + (scratch_.path() / "runs").string() + "; ";
  const auto runs = [&] {
    std::ifstream stream(scratch_.path() / "runs");
    return std::count(std::istreambuf_iterator<char>(stream), {}, '\n');
  };
  const Experiment first = experiment("matrix: {method.name: [zo2, mezo]}");
  run(first, script + "case $1 in *mezo*) exit 1;; esac; " + kSucceed);
  EXPECT_EQ(runs(), 2);
  const RunSummary second = run(first, script + kSucceed);
  EXPECT_EQ(runs(), 3) << "the failed one";
  EXPECT_TRUE(second.repeats[0].reused);
  EXPECT_FALSE(second.repeats[1].reused);
  EXPECT_EQ(second.exit_code(), 0);

  run(experiment("matrix: {method.name: [zo2, mezo], data.batch: [1, 2]}"), script + kSucceed);
  EXPECT_EQ(runs(), 5) << "two new cells; the old ones keep their folders although their slugs have grown";

  for (const Record& record : read_records(out())) {
    Json environment = read_json(record.folder / "env.json");
    environment["binary_sha256"] = "another program";
    write_file_atomically(record.folder / "env.json", environment.dump());
  }
  run(first, script + kSucceed);
  EXPECT_EQ(runs(), 7) << "another program made those records";
}

TEST_F(RunnerTest, AnOldResultIsGoneBeforeTheProcessStarts) {
  run(experiment(), "echo 1 > $1/samples.jsonl; " + std::string(kSucceed) + "; exit 1");
  run(experiment(), R"(test ! -e "$1/result.json" && test ! -e "$1/samples.jsonl" && )" + std::string(kSucceed));
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

TEST_F(RunnerTest, RefusesAnOutputThatItCannotWriteAndAProgramThatIsNotThere) {
  const fs::path file = scratch_.write("file", "");
  EXPECT_THROW(run_experiment(experiment(), {.out = file / "out", .child = {"/bin/sh"}}), IoError);
  EXPECT_THROW(run_experiment(experiment(), {.out = out(), .child = {"/nowhere/zo2"}}), Error);
}

TEST(Process, ReportsItsPeakMemory) {
  const TempFolder scratch;
  ProcessSpec spec{.command = {"/bin/sh", "-c",
                               "dd if=/dev/zero of=/dev/null bs=64M count=1 2>/dev/null; exec dd "
                               "if=/dev/zero of=/dev/null bs=200M count=1"},
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

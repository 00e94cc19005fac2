// The runner beside a GPU (a stand-in), with shell scripts in place of the program.
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <sstream>
#include <thread>

#include "base/standin_nvml.h"
#include "experiment/environment.h"
#include "experiment/gpu_lock.h"
#include "experiment/metrics.h"
#include "experiment/process.h"
#include "experiment/runner.h"

namespace zo2 {
namespace {

using namespace std::chrono_literals;
using testing::NvmlValues;
using testing::ScopedVariable;
using testing::StandinNvml;
using testing::TempFolder;
namespace fs = std::filesystem;

NvmlValues some_gpu() {
  return {{"driver", "580.1"},
          {"0.name", "GPU A"},
          {"0.uuid", "GPU-secret"},
          {"0.bus_id", "00000000:C1:00.0"},
          {"0.total_bytes", "8000"},
          {"0.used_bytes", "500"},
          {"0.processes", ""},
          {"0.sm_clock_mhz", "345"},
          {"0.sm_clock_max_mhz", "1980"},
          {"0.temperature_c", "35"},
          {"0.power_mw", "70000"},
          {"0.power_limit_mw", "700000"},
          {"0.link_generation", "1"},
          {"0.link_width", "16"},
          {"0.link_generation_max", "5"},
          {"0.link_width_max", "16"},
          {"0.reasons", "1"}};
}

// A child that ends well, having run on `device`.
std::string succeed_on(const std::string& device) {
  return R"(echo '{"schema":1,"state":"ok","metrics":{},"warnings":["its own"],"chosen":{"device":")" + device +
         R"("}}' > "$1/reported.json")";
}

// put KEY VALUE changes what the GPU says.
constexpr const char* kPut =
    R"(put() { sed "s/^0.$1=.*/0.$1=$2/" "$ZO2_STANDIN_NVML" > "$1.new" && mv "$1.new" "$ZO2_STANDIN_NVML"; }; )";

class RunnerGpuTest : public ::testing::Test {
 protected:
  RunSummary run(const std::string& script, const std::string& engine = "{}", RunOptions options = {},
                 const std::string& rest = "") {
    const fs::path manifest =
        scratch_.write("m.yaml", "name: test\ndefaults:\n  data: {seq: 8}\n  engine: " + engine + "\n" + rest);
    const fs::path file = scratch_.write("child.sh", "#!/bin/sh\ncd $TMPDIR; " + std::string(kPut) + script + "\n");
    options.out = out();
    options.child = {"/bin/sh", file.string()};
    options.grace_s = 0.3;
    options.quiet = !loud_;
    return run_experiment(load_experiment(manifest.string()), options);
  }
  int64_t runs() {
    std::ifstream stream(scratch_ / "runs");
    return std::count(std::istreambuf_iterator<char>(stream), {}, '\n');
  }
  Record only_record() { return read_records(out()).at(0); }
  fs::path out() const { return scratch_.path() / "out"; }
  std::optional<File> hold_gpu() {
    return lock_gpu(Nvml::open().visible_device().value(), [] { return false; });
  }

  bool loud_ = false;  // on standard error
  TempFolder scratch_;
  ScopedVariable temporary_{"TMPDIR", scratch_.path().c_str()};
  StandinNvml standin_{some_gpu()};
};

TEST_F(RunnerGpuTest, ARecordSaysWhatTheGpuDid) {
  const RunSummary summary =
      run("put link_generation 5; put power_mw 400000; put sm_clock_mhz 1900; put temperature_c 66; "
          "put used_bytes 7000; sleep 0.3; put used_bytes 3000; sleep 0.5; put used_bytes 500; " +
          succeed_on("cuda"));
  EXPECT_EQ(summary.exit_code(), 0);
  const Record record = only_record();
  EXPECT_EQ(record.bytes("nvml_idle_bytes"), 500);
  EXPECT_EQ(record.bytes("nvml_run_peak_bytes"), 7000);
  EXPECT_EQ(record.metric("gpu_sm_clock_mhz"), 1900);
  EXPECT_EQ(record.metric("gpu_temperature_c"), 66);
  EXPECT_EQ(record.metric("gpu_power_w"), 400);
  EXPECT_EQ(record.metric("pcie_link_generation"), 5);
  EXPECT_EQ(record.metric("pcie_link_width"), 16);
  EXPECT_EQ(record.result["throttle_reasons"], Json::array());
  EXPECT_EQ(record.result["warnings"], Json({"its own"}));
  for (const auto& [name, value] : record.result["metrics"].items()) EXPECT_NE(find_metric(name), nullptr) << name;
}

TEST_F(RunnerGpuTest, WhatDisturbedTheRunIsAWarning) {
  standin_.set("0.processes", "77:100");
  standin_.set("0.reasons", "4");
  run(succeed_on("cuda"), "{}", {.gpu_wait_s = 0.2});
  const Json result = only_record().result;
  EXPECT_EQ(result["throttle_reasons"], Json({"sw_power_cap"}));
  ASSERT_EQ(result["warnings"].size(), 3u) << "its own, the power limit, another process";
  EXPECT_EQ(result["foreign_gpu_processes"], 1);
  EXPECT_EQ(result["state"], "ok");
}

TEST_F(RunnerGpuTest, AThrottledRepeatIsRunOnceMore) {
  standin_.set("0.reasons", "64");
  const std::string count = "echo ran >> runs; ";
  EXPECT_EQ(run(count + "sleep 0.3; put reasons 0; " + succeed_on("cuda")).exit_code(), 0);
  EXPECT_EQ(runs(), 2);
  EXPECT_EQ(only_record().state, State::ok);
  EXPECT_EQ(only_record().result["throttle_reasons"], Json::array());
  EXPECT_EQ(only_record().result["warnings"].back(), "the GPU was throttled in a first attempt; this is the second");

  standin_.set("0.reasons", "64");
  EXPECT_EQ(run(count + "echo '{}' > \"$1/samples.jsonl\"; " + succeed_on("cuda"), "{}", {.rerun = true}).exit_code(),
            3);
  EXPECT_EQ(runs(), 4) << "not a third time";
  const Record record = only_record();
  EXPECT_EQ(record.state, State::throttled);
  EXPECT_EQ(record.result["throttle_reasons"], Json({"hw_thermal_slowdown"}));
  EXPECT_TRUE(fs::exists(record.folder / "samples.jsonl"));
  EXPECT_EQ(record.bytes("nvml_run_peak_bytes"), 500);
}

TEST_F(RunnerGpuTest, ARepeatStartsOnACoolGpu) {
  const std::string heats_up = "put temperature_c 60; " + succeed_on("cuda");
  std::thread fan([&] {  // cools after the first repeat of two
    while (!fs::exists(out() / "cells") || read_records(out()).empty()) std::this_thread::sleep_for(5ms);
    std::this_thread::sleep_for(300ms);
    standin_.set("0.temperature_c", "39");
  });
  EXPECT_EQ(run(heats_up, "{}", {}, "repeats: 2\n").exit_code(), 0);
  fan.join();
  const auto records = read_records(out());
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[0].metric("gpu_start_temperature_c"), 35);
  EXPECT_LT(records[0].metric("gpu_wait_s").value(), 0.1);
  EXPECT_EQ(records[1].metric("gpu_start_temperature_c"), 39) << "five degrees more would do";
  EXPECT_GT(records[1].metric("gpu_wait_s").value(), 0.1);
  EXPECT_EQ(records[1].result["warnings"], Json({"its own"}));
}

TEST_F(RunnerGpuTest, TheWaitForACoolGpuIsBounded) {
  run("put temperature_c 60; " + succeed_on("cuda"), "{}", {.gpu_wait_s = 0.3}, "repeats: 2\n");
  const Record second = read_records(out()).at(1);
  EXPECT_EQ(second.metric("gpu_start_temperature_c"), 60);
  EXPECT_GE(second.metric("gpu_wait_s").value(), 0.3);
  EXPECT_LT(second.metric("gpu_wait_s").value(), 5);
  const auto warning = second.result["warnings"].back().get<std::string>();
  EXPECT_TRUE(warning.starts_with("the GPU was still at 60 C after 0 s of waiting, and at 35 C when the first"))
      << warning;
}

TEST_F(RunnerGpuTest, AProcessThatStaysIsWaitedForOnce) {
  standin_.set("0.processes", "77:100");
  run(succeed_on("cuda"), "{}", {.gpu_wait_s = 0.3}, "repeats: 3\n");
  const auto records = read_records(out());
  ASSERT_EQ(records.size(), 3u);
  EXPECT_GE(records[0].metric("gpu_wait_s").value(), 0.3);
  for (const size_t later : {1, 2}) EXPECT_LT(records[later].metric("gpu_wait_s").value(), 0.1);
  for (const Record& record : records) EXPECT_EQ(record.result["foreign_gpu_processes"], 1);
}

TEST_F(RunnerGpuTest, ARunOutOfMemoryKeepsItsPeak) {
  run("put used_bytes 8000; sleep 0.3; exit 1");
  EXPECT_EQ(only_record().state, State::crashed);
  EXPECT_EQ(only_record().bytes("nvml_run_peak_bytes"), 8000);
}

TEST_F(RunnerGpuTest, ARunOnCpuSaysNothingOfTheGpu) {
  standin_.set("0.processes", "77:100");
  run(succeed_on("cpu"), "{}", {.gpu_wait_s = 0});
  const Json result = only_record().result;
  EXPECT_EQ(result["warnings"], Json({"its own"}));
  EXPECT_FALSE(result.contains("throttle_reasons"));
  for (const auto& [name, value] : result["metrics"].items()) {
    EXPECT_FALSE(name.starts_with("nvml_") || name.starts_with("gpu_") || name.starts_with("pcie_")) << name;
  }
}

TEST_F(RunnerGpuTest, WithoutNvmlARunOnTheGpuSaysThatNobodyWatched) {
  const ScopedVariable library("ZO2_NVML_LIBRARY", "/nowhere.so");
  run(succeed_on("cuda"), "{device: cuda}");
  ASSERT_EQ(only_record().result["warnings"].size(), 2u);
  const auto warning = only_record().result["warnings"][1].get<std::string>();
  EXPECT_TRUE(warning.starts_with("the GPU was not watched: no NVML: /nowhere.so")) << warning;
}

TEST_F(RunnerGpuTest, ASecondRunWaitsForTheGpuAndSaysSoOnce) {
  const auto old_logger = spdlog::default_logger();
  std::ostringstream log;
  spdlog::set_default_logger(
      std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(log)));
  std::optional<File> first = hold_gpu();
  ASSERT_TRUE(first);
  loud_ = true;
  std::thread second([&] { EXPECT_EQ(run("touch began; " + succeed_on("cuda")).exit_code(), 0); });
  std::this_thread::sleep_for(500ms);
  EXPECT_FALSE(fs::exists(scratch_ / "began"));
  first.reset();
  second.join();
  spdlog::set_default_logger(old_logger);
  EXPECT_EQ(only_record().state, State::ok);
  const std::string text = log.str();
  const size_t found = text.find("waiting for GPU GPU A");
  ASSERT_NE(found, std::string::npos) << text;
  EXPECT_EQ(text.find("waiting for GPU", found + 1), std::string::npos) << text;
}

TEST_F(RunnerGpuTest, TheGpuIsHeldWhileTheChildRunsAndNoLonger) {
  std::thread runner([&] { run("touch started; while [ ! -e go ]; do sleep 0.02; done; " + succeed_on("cuda")); });
  for (int i = 0; i < 500 && !fs::exists(scratch_ / "started"); ++i) std::this_thread::sleep_for(10ms);
  EXPECT_TRUE(fs::exists(scratch_ / "started"));
  EXPECT_FALSE(hold_gpu());
  scratch_.write("go", "");
  runner.join();
  EXPECT_TRUE(hold_gpu());
}

TEST_F(RunnerGpuTest, WhatNeedsNoGpuDoesNotWaitForIt) {
  const std::optional<File> first = hold_gpu();
  EXPECT_EQ(run(succeed_on("cpu"), "{device: cpu}").exit_code(), 0);
  EXPECT_EQ(run(succeed_on("cpu"), "{project: true}").exit_code(), 0);
}

TEST_F(RunnerGpuTest, AnInterruptionEndsTheWait) {
  const std::optional<File> first = hold_gpu();
  std::thread killer([&] {
    while (!fs::exists(out() / "experiment.json")) std::this_thread::sleep_for(5ms);  // its handlers are in place
    std::this_thread::sleep_for(100ms);
    kill(getpid(), SIGINT);
  });
  const RunSummary summary = run(succeed_on("cuda"));
  killer.join();
  EXPECT_EQ(summary.exit_code(), 130);
  EXPECT_TRUE(summary.repeats.empty());
  EXPECT_TRUE(read_records(out()).empty());
}

TEST_F(RunnerGpuTest, TheEnvironmentDescribesTheGpuWithoutNamingIt) {
  run(succeed_on("cuda"));
  const Json environment = read_json(only_record().folder / "env.json");
  EXPECT_EQ(environment["gpu"], Json({{"name", "GPU A"},
                                      {"memory_bytes", 8000},
                                      {"driver", "580.1"},
                                      {"sm_clock_max_mhz", 1980},
                                      {"power_limit_w", 700.0},
                                      {"pcie_generation_max", 5},
                                      {"pcie_width_max", 16}}));
  EXPECT_EQ(environment.dump().find("secret"), std::string::npos);
  EXPECT_EQ(environment.dump().find("C1:00"), std::string::npos);

  const ScopedVariable hidden("CUDA_VISIBLE_DEVICES", "");
  EXPECT_TRUE(describe_environment(self_executable(), Nvml::open()).at("gpu").is_null());
}

TEST_F(RunnerGpuTest, ARecordOfAnotherGpuIsNotReused) {
  const auto reused = [&](const std::string& device) { return run(succeed_on(device)).repeats.at(0).reused; };
  EXPECT_FALSE(reused("cuda"));
  EXPECT_TRUE(reused("cuda"));
  standin_.set("0.name", "GPU B");
  EXPECT_FALSE(reused("cuda"));
  {
    const ScopedVariable library("ZO2_NVML_LIBRARY", "/nowhere.so");
    EXPECT_FALSE(reused("cuda")) << "no GPU now";
  }
  EXPECT_FALSE(reused("cpu")) << "no GPU then";
  standin_.set("0.name", "GPU C");
  EXPECT_TRUE(reused("cpu")) << "a run on CPU is the same beside any GPU";
}

}  // namespace
}  // namespace zo2

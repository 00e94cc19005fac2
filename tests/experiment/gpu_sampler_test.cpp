// What is read of a GPU while a child runs, and what a record says of it.
#include "experiment/gpu_sampler.h"

#include <gtest/gtest.h>

#include <thread>

#include "base/standin_nvml.h"

namespace zo2 {
namespace {

using namespace std::chrono_literals;
using testing::NvmlValues;
using testing::StandinNvml;

Json result_of(const GpuReadings& readings) {
  Json result = {{"metrics", Json::object()}, {"warnings", Json::array()}};
  add_gpu_readings(readings, result);
  return result;
}

TEST(GpuReadings, ClockPowerAndThrottlingAreThoseOfTheSecondHalf) {
  const GpuPoll loading{.sm_clock_mhz = 300, .power_w = 400, .link = PcieLink{1, 16}, .clock_event_reasons = 0x8};
  const GpuPoll working{.sm_clock_mhz = 1900, .power_w = 600, .link = PcieLink{5, 8}, .clock_event_reasons = 0x4};
  const GpuPoll faster{.sm_clock_mhz = 2000, .power_w = 700, .link = PcieLink{5, 8}, .clock_event_reasons = 0x25};
  const Json result = result_of({.idle_power_w = 70, .polls = {loading, loading, working, faster}});
  EXPECT_EQ(result["metrics"]["gpu_sm_clock_mhz"], 1950);
  EXPECT_EQ(result["metrics"]["gpu_power_w"], 650);
  EXPECT_EQ(result["throttle_reasons"], Json({"sw_power_cap", "sw_thermal_slowdown"})) << "and not hw_slowdown";
  ASSERT_EQ(result["warnings"].size(), 1u);
  EXPECT_EQ(result["warnings"][0],
            "the GPU was throttled in the second half of the run: sw_power_cap in 2 of 2 polls, "
            "sw_thermal_slowdown in 1 of 2 polls");
  EXPECT_EQ(result["metrics"]["pcie_link_generation"], 5) << "of the whole life";
  EXPECT_EQ(result["metrics"]["pcie_link_width"], 16);
}

TEST(GpuReadings, TheClockOfAnIdleGpuDoesNotCount) {
  const GpuPoll idle{.sm_clock_mhz = 345, .power_w = 70};
  const GpuPoll working{.sm_clock_mhz = 1980, .power_w = 500};
  const Json result = result_of({.idle_power_w = 70, .polls = {idle, idle, working, idle}});
  EXPECT_EQ(result["metrics"]["gpu_sm_clock_mhz"], 1980);
  EXPECT_EQ(result["metrics"]["gpu_power_w"], 285);
  EXPECT_FALSE(result_of({.idle_power_w = 70, .polls = {idle, idle}})["metrics"].contains("gpu_sm_clock_mhz"));
  EXPECT_EQ(result_of({.polls = {{.sm_clock_mhz = 345}}})["metrics"]["gpu_sm_clock_mhz"], 345) << "nothing known";
}

TEST(GpuReadings, TheTemperatureIsTheHighestOfAll) {
  const Json result = result_of({.polls = {{.temperature_c = 40}, {.temperature_c = 71}, {.temperature_c = 65}}});
  EXPECT_EQ(result["metrics"]["gpu_temperature_c"], 71);
}

TEST(GpuReadings, OtherProcessesAreCountedAndAWarning) {
  const Json one = result_of({.foreign_processes = 1});
  EXPECT_EQ(one["foreign_gpu_processes"], 1);
  ASSERT_EQ(one["warnings"].size(), 1u);
  const auto warning = one["warnings"][0].get<std::string>();
  EXPECT_TRUE(warning.starts_with("the GPU was not free: 1 other process had a context on it")) << warning;
  EXPECT_NE(result_of({.foreign_processes = 2})["warnings"][0].get<std::string>().find("2 other processes"),
            std::string::npos);
  const Json none = result_of({});
  EXPECT_EQ(none["foreign_gpu_processes"], 0);
  EXPECT_TRUE(none["warnings"].empty());
}

TEST(GpuReadings, HeatAndHardwareThrottleAndThePowerLimitDoesNot) {
  const auto throttled = [](uint64_t bits) {
    return was_throttled(result_of({.polls = {GpuPoll{.clock_event_reasons = bits}}}));
  };
  EXPECT_FALSE(throttled(0));
  EXPECT_FALSE(throttled(0x04)) << "the power limit is how a GPU works that computes flat out";
  for (const uint64_t bits : {0x08, 0x20, 0x40, 0x80, 0x44}) EXPECT_TRUE(throttled(bits)) << bits;
  EXPECT_FALSE(was_throttled(Json::object())) << "not watched";
}

TEST(GpuReadings, WhatTheGpuDoesNotTellIsLeftOut) {
  const Json result = result_of({.polls = {{}, {}}});
  EXPECT_EQ(result["metrics"], Json::object());
  EXPECT_EQ(result["warnings"], Json::array());
  EXPECT_EQ(result["throttle_reasons"], Json::array());
}

TEST(GpuSampler, SeesAShortPeak) {
  StandinNvml standin(NvmlValues{{"0.used_bytes", "500"}, {"0.power_mw", "70000"}, {"0.processes", "7:1"}});
  const auto begin = std::chrono::steady_clock::now();
  GpuSampler sampler(Nvml::open().device(0).value(), 1ms);
  for (const char* bytes : {"900", "4000", "700"}) {
    standin.set("0.used_bytes", bytes);
    std::this_thread::sleep_for(100ms);
  }
  const GpuReadings readings = sampler.stop();
  EXPECT_EQ(readings.idle_bytes, 500);
  EXPECT_EQ(readings.run_peak_bytes, 4000);
  EXPECT_EQ(readings.idle_power_w, 70);
  EXPECT_EQ(readings.foreign_processes, 1);
  EXPECT_GE(readings.polls.size(), 2u);
  const auto life = std::chrono::steady_clock::now() - begin;
  EXPECT_LE((readings.polls.size() - 1) * 10ms, life) << "all but memory at every tenth";
}

TEST(GpuSampler, SeesAProcessThatComesWhileTheChildRunsAndStays) {
  StandinNvml standin(NvmlValues{{"0.used_bytes", "500"}, {"0.processes", ""}});
  GpuSampler sampler(Nvml::open().device(0).value());
  standin.set("0.processes", "7:1 8:1");
  std::thread gone([&] {  // the child's, which the driver clears away with delay
    std::this_thread::sleep_for(100ms);
    standin.set("0.processes", "8:1");
  });
  EXPECT_EQ(sampler.stop().foreign_processes, 1);
  gone.join();
}

TEST(GpuSampler, StopsAtOnce) {
  const StandinNvml standin(NvmlValues{{"0.used_bytes", "500"}});
  const auto begin = std::chrono::steady_clock::now();
  GpuSampler sampler(Nvml::open().device(0).value(), 1min);
  const GpuReadings readings = sampler.stop();
  EXPECT_EQ(readings.run_peak_bytes, 500) << "one poll even in no time";
  EXPECT_EQ(readings.polls.size(), 1u);
  {
    const GpuSampler abandoned(Nvml::open().device(0).value(), 1min);
    std::this_thread::sleep_for(50ms);  // now it waits for its second poll
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
}

}  // namespace
}  // namespace zo2

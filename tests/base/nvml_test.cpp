// Reading a GPU through a stand-in for the driver's library.
#include "base/nvml.h"

#include <gtest/gtest.h>

#include "base/standin_nvml.h"

namespace zo2 {
namespace {

using testing::NvmlValues;
using testing::ScopedVariable;
using testing::StandinNvml;

using Names = std::vector<std::string_view>;

TEST(Nvml, ReadsWhatTheLibrarySays) {
  const StandinNvml standin(NvmlValues{{"driver", "580.1"},
                                       {"0.name", "Some GPU"},
                                       {"0.uuid", "GPU-1"},
                                       {"0.bus_id", "00000000:C1:00.0"},
                                       {"0.total_bytes", "85520809984"},
                                       {"0.used_bytes", "503316480"},
                                       {"0.sm_clock_mhz", "1755"},
                                       {"0.sm_clock_max_mhz", "1980"},
                                       {"0.memory_clock_mhz", "2619"},
                                       {"0.temperature_c", "41"},
                                       {"0.power_mw", "123500"},
                                       {"0.power_limit_mw", "700000"},
                                       {"0.link_generation", "1"},
                                       {"0.link_width", "8"},
                                       {"0.link_generation_max", "5"},
                                       {"0.link_width_max", "16"},
                                       {"0.reasons", "4"}});
  const Nvml nvml = Nvml::open();
  EXPECT_EQ(nvml.reason(), "");
  EXPECT_EQ(nvml.driver_version(), "580.1");
  ASSERT_EQ(nvml.device_count(), 1);
  const NvmlDevice device = nvml.device(0).value();
  EXPECT_EQ(device.name(), "Some GPU");
  EXPECT_EQ(device.uuid(), "GPU-1");
  EXPECT_EQ(device.pci_bus_id(), "00000000:C1:00.0");
  EXPECT_EQ(device.memory().value().total_bytes, 85520809984);
  EXPECT_EQ(device.memory().value().used_bytes, 503316480);
  EXPECT_EQ(device.sm_clock_mhz(), 1755);
  EXPECT_EQ(device.sm_clock_max_mhz(), 1980);
  EXPECT_EQ(device.memory_clock_mhz(), 2619);
  EXPECT_EQ(device.temperature_c(), 41);
  EXPECT_EQ(device.power_w(), 123.5);
  EXPECT_EQ(device.power_limit_w(), 700);
  EXPECT_EQ(device.link().value().generation, 1);
  EXPECT_EQ(device.link().value().width, 8);
  EXPECT_EQ(device.link_max().value().generation, 5);
  EXPECT_EQ(device.link_max().value().width, 16);
  EXPECT_EQ(device.clock_event_reasons(), 4);
}

TEST(Nvml, WhatIsNotSupportedIsAbsent) {
  const StandinNvml standin(NvmlValues{});
  const Nvml nvml = Nvml::open();
  EXPECT_EQ(nvml.driver_version(), std::nullopt);
  const NvmlDevice device = nvml.device(0).value();
  EXPECT_EQ(device.name(), std::nullopt);
  EXPECT_EQ(device.uuid(), std::nullopt);
  EXPECT_EQ(device.pci_bus_id(), std::nullopt);
  EXPECT_FALSE(device.memory());
  EXPECT_FALSE(device.compute_processes());
  EXPECT_EQ(device.sm_clock_mhz(), std::nullopt);
  EXPECT_EQ(device.sm_clock_max_mhz(), std::nullopt);
  EXPECT_EQ(device.memory_clock_mhz(), std::nullopt);
  EXPECT_EQ(device.temperature_c(), std::nullopt);
  EXPECT_EQ(device.power_w(), std::nullopt);
  EXPECT_EQ(device.power_limit_w(), std::nullopt);
  EXPECT_FALSE(device.link());
  EXPECT_FALSE(device.link_max());
  EXPECT_EQ(device.clock_event_reasons(), std::nullopt);
}

TEST(Nvml, WhatAnOldLibraryLacksIsAbsentAndTheRestIsThere) {
  const StandinNvml standin(NvmlValues{{"driver", "450"},
                                       {"0.name", "Old GPU"},
                                       {"0.uuid", "GPU-1"},
                                       {"0.bus_id", "0"},
                                       {"0.used_bytes", "77"},
                                       {"0.processes", "1:1"},
                                       {"0.power_mw", "1"},
                                       {"0.power_limit_mw", "1"},
                                       {"0.sm_clock_mhz", "1"},
                                       {"0.temperature_c", "1"},
                                       {"0.link_generation", "1"},
                                       {"0.link_width", "1"},
                                       {"0.link_generation_max", "1"},
                                       {"0.link_width_max", "1"},
                                       {"0.reasons", "8"}},
                            ZO2_STANDIN_OLD_NVML_LIBRARY);
  const Nvml nvml = Nvml::open();
  EXPECT_EQ(nvml.driver_version(), std::nullopt);
  const NvmlDevice device = nvml.device(0).value();
  EXPECT_EQ(device.name(), "Old GPU");
  EXPECT_EQ(device.memory().value().used_bytes, 77);
  EXPECT_EQ(device.clock_event_reasons(), 8) << "under the function's old name";
  EXPECT_EQ(device.uuid(), std::nullopt);
  EXPECT_EQ(device.pci_bus_id(), std::nullopt);
  EXPECT_FALSE(device.compute_processes());
  EXPECT_EQ(device.sm_clock_mhz(), std::nullopt);
  EXPECT_EQ(device.temperature_c(), std::nullopt);
  EXPECT_EQ(device.power_w(), std::nullopt);
  EXPECT_EQ(device.power_limit_w(), std::nullopt);
  EXPECT_FALSE(device.link());
  EXPECT_FALSE(device.link_max());
}

TEST(Nvml, ListsProcesses) {
  StandinNvml standin(NvmlValues{{"0.processes", ""}});
  const NvmlDevice device = Nvml::open().device(0).value();  // outlives the Nvml
  EXPECT_TRUE(device.compute_processes().value().empty());
  standin.set("0.processes", "12:300 13:?");
  const auto two = device.compute_processes().value();
  ASSERT_EQ(two.size(), 2u);
  EXPECT_EQ(two[0].pid, 12);
  EXPECT_EQ(two[0].used_bytes, 300);
  EXPECT_EQ(two[1].pid, 13);
  EXPECT_EQ(two[1].used_bytes, std::nullopt);
}

TEST(Nvml, SaysWhyThereIsNone) {
  {
    const ScopedVariable library("ZO2_NVML_LIBRARY", "/nowhere/libnvidia-ml.so");
    const Nvml nvml = Nvml::open();
    EXPECT_NE(nvml.reason().find("/nowhere/libnvidia-ml.so"), std::string::npos) << nvml.reason();
    EXPECT_EQ(nvml.device_count(), 0);
    EXPECT_FALSE(nvml.device(0));
    EXPECT_FALSE(nvml.visible_device());
    EXPECT_EQ(nvml.driver_version(), std::nullopt);
  }
  {
    const ScopedVariable library("ZO2_NVML_LIBRARY", "libm.so.6");
    EXPECT_EQ(Nvml::open().reason(), "no NVML: libm.so.6 has no nvmlInit_v2");
  }
  const StandinNvml standin(NvmlValues{{"init_error", "9"}});
  EXPECT_EQ(Nvml::open().reason(), "NVML does not start: Driver Not Loaded");
  EXPECT_FALSE(Nvml::open().visible_device());
}

TEST(Nvml, TheVisibleDeviceIsTheOneThatCudaTakes) {
  const StandinNvml standin(
      NvmlValues{{"devices", "3"}, {"0.uuid", "GPU-aa"}, {"1.uuid", "GPU-ba"}, {"2.uuid", "GPU-bb"}});
  const Nvml nvml = Nvml::open();
  const auto visible = [&](const char* value) {
    const ScopedVariable variable("CUDA_VISIBLE_DEVICES", value);
    const auto device = nvml.visible_device();
    return device ? device->uuid().value() : "none";
  };
  EXPECT_EQ(visible(nullptr), "GPU-aa");
  EXPECT_EQ(visible("2"), "GPU-bb");
  EXPECT_EQ(visible("1,0"), "GPU-ba");
  EXPECT_EQ(visible("GPU-bb"), "GPU-bb");
  EXPECT_EQ(visible("GPU-b"), "GPU-ba") << "the start of a UUID is enough for CUDA";
  for (const char* hidden : {"", "-1", "3", "GPU-c", "MIG-aa", "1x"}) EXPECT_EQ(visible(hidden), "none") << hidden;
}

TEST(Nvml, OnlyLackOfPowerOrCoolingIsThrottling) {
  EXPECT_EQ(throttle_reasons(0), Names{});
  EXPECT_EQ(throttle_reasons(0x1 | 0x2 | 0x10 | 0x100), Names{}) << "idle, set clocks, sync boost, display";
  EXPECT_EQ(throttle_reasons(0x4), Names{"sw_power_cap"});
  EXPECT_EQ(throttle_reasons(0xff),
            (Names{"sw_power_cap", "hw_slowdown", "sw_thermal_slowdown", "hw_thermal_slowdown", "hw_power_brake"}));
}

}  // namespace
}  // namespace zo2

// A GPU as its driver sees it, from any process: memory, clocks, temperature, power, link. Through NVML, the library
// that comes with the driver (https://docs.nvidia.com/deploy/nvml-api).
//
// The library is opened at run time, so one program serves machines with and without a driver; and no CUDA context is
// made, which would take some hundred MiB of the very memory that is to be read. What a driver, a GPU or a virtual
// machine does not tell is nullopt: nothing here throws. All functions may be called from several threads at once.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace zo2 {

struct NvmlLibrary;  // the opened library: its functions, and its shutdown when nobody needs it any more

struct GpuMemory {
  int64_t total_bytes = 0;
  int64_t used_bytes = 0;  // by everybody, and by the driver itself
};

struct GpuProcess {
  int64_t pid = 0;  // as the driver numbers it: in a container often another number than here
  std::optional<int64_t> used_bytes;
};

struct PcieLink {
  int generation = 0;
  int width = 0;  // lanes
};

class NvmlDevice {
 public:
  std::optional<std::string> name() const;        // "NVIDIA H100 80GB HBM3"
  std::optional<std::string> uuid() const;        // "GPU-" and 32 digits with dashes
  std::optional<std::string> pci_bus_id() const;  // "00000000:C1:00.0"

  // nvmlDeviceGetMemoryInfo, version 1: the meter of the ZO2 paper. Version 2 counts the driver's reserve apart.
  std::optional<GpuMemory> memory() const;
  std::optional<int64_t> used_bytes() const;  // of memory()
  // The processes with a CUDA context here.
  std::optional<std::vector<GpuProcess>> compute_processes() const;

  std::optional<int> sm_clock_mhz() const;
  std::optional<int> sm_clock_max_mhz() const;  // the highest that this GPU can be asked for
  std::optional<int> memory_clock_mhz() const;
  std::optional<int> temperature_c() const;
  std::optional<double> power_w() const;        // drawn by the whole board
  std::optional<double> power_limit_w() const;  // the one in force
  std::optional<PcieLink> link() const;         // now: an idle GPU lowers the generation
  std::optional<PcieLink> link_max() const;     // the best that this GPU and this slot can do together
  // Why the clocks are where they are, a bit a reason: see throttle_reasons().
  std::optional<uint64_t> clock_event_reasons() const;

 private:
  friend class Nvml;
  NvmlDevice(std::shared_ptr<const NvmlLibrary> library, void* handle)
      : library_(std::move(library)), handle_(handle) {}
  std::shared_ptr<const NvmlLibrary> library_;
  void* handle_;  // the library's own
};

class Nvml {
 public:
  // Opens $ZO2_NVML_LIBRARY, or libnvidia-ml.so.1. Where that is impossible there are no devices, and a reason.
  static Nvml open();

  const std::string& reason() const { return reason_; }  // why the library is not open; empty when it is

  std::optional<std::string> driver_version() const;
  int device_count() const;
  std::optional<NvmlDevice> device(int index) const;  // in the order of PCI bus ids
  // The one that CUDA calls device 0 in this process: the first entry of CUDA_VISIBLE_DEVICES, an index or the start of
  // a UUID, else index 0. nullopt when the variable hides all GPUs, or names a part of one (MIG). On a machine with
  // unlike GPUs CUDA counts in this order only with CUDA_DEVICE_ORDER=PCI_BUS_ID.
  std::optional<NvmlDevice> visible_device() const;

 private:
  std::shared_ptr<const NvmlLibrary> library_;  // null when it could not be opened
  std::string reason_;
};

// The names of those bits that mean that the GPU runs slower than it could for lack of power or cooling: sw_power_cap,
// hw_slowdown, sw_thermal_slowdown, hw_thermal_slowdown, hw_power_brake. Idleness and clocks that somebody has set are
// not among them.
std::vector<std::string_view> throttle_reasons(uint64_t clock_event_reasons);

}  // namespace zo2

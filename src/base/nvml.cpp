#include "base/nvml.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cstdlib>

namespace zo2 {
namespace {

using Handle = void*;  // nvmlDevice_t

// Return codes and selectors.
constexpr int kSuccess = 0;
constexpr int kInsufficientSize = 7;
constexpr int kSmClock = 1;
constexpr int kMemoryClock = 2;
constexpr int kCoreSensor = 0;
constexpr unsigned long long kNotAvailable = ~0ULL;

// Structures that the library fills in, in its layout.
struct MemoryInfo {  // nvmlMemory_t
  unsigned long long total;
  unsigned long long free;
  unsigned long long used;
};
struct ProcessInfo {  // nvmlProcessInfo_t as of the third version of the query
  unsigned int pid;
  unsigned long long used_memory;
  unsigned int gpu_instance;
  unsigned int compute_instance;
};
struct PciInfo {  // nvmlPciInfo_t as of the third version of the query
  char bus_id_legacy[16];
  unsigned int domain, bus, device, device_id, subsystem_id;
  char bus_id[32];
};

struct ReasonName {
  uint64_t bit;
  std::string_view name;
};
constexpr std::array kThrottleReasons{
    ReasonName{0x04, "sw_power_cap"},        ReasonName{0x08, "hw_slowdown"},
    ReasonName{0x20, "sw_thermal_slowdown"}, ReasonName{0x40, "hw_thermal_slowdown"},
    ReasonName{0x80, "hw_power_brake"},
};

}  // namespace

// Any function may be null: an older library lacks the newer ones.
struct NvmlLibrary {
  using TextOf = int(Handle, char*, unsigned int);
  using NumberOf = int(Handle, unsigned int*);
  using SelectedNumberOf = int(Handle, int, unsigned int*);

  explicit NvmlLibrary(void* opened) : library(opened) {}
  NvmlLibrary(const NvmlLibrary&) = delete;
  NvmlLibrary& operator=(const NvmlLibrary&) = delete;
  ~NvmlLibrary() {
    if (initialised && shutdown != nullptr) shutdown();
    dlclose(library);
  }

  template <typename Function>
  Function* find(const char* name) const {
    return reinterpret_cast<Function*>(dlsym(library, name));
  }

  void* library;
  bool initialised = false;
  int (*init)() = find<int()>("nvmlInit_v2");
  int (*shutdown)() = find<int()>("nvmlShutdown");
  const char* (*error_text)(int) = find<const char*(int)>("nvmlErrorString");
  int (*driver_version)(char*, unsigned int) = find<int(char*, unsigned int)>("nvmlSystemGetDriverVersion");
  int (*count)(unsigned int*) = find<int(unsigned int*)>("nvmlDeviceGetCount_v2");
  int (*by_index)(unsigned int, Handle*) = find<int(unsigned int, Handle*)>("nvmlDeviceGetHandleByIndex_v2");
  TextOf* name = find<TextOf>("nvmlDeviceGetName");
  TextOf* uuid = find<TextOf>("nvmlDeviceGetUUID");
  int (*pci_info)(Handle, PciInfo*) = find<int(Handle, PciInfo*)>("nvmlDeviceGetPciInfo_v3");
  int (*memory)(Handle, MemoryInfo*) = find<int(Handle, MemoryInfo*)>("nvmlDeviceGetMemoryInfo");
  int (*processes)(Handle, unsigned int*, ProcessInfo*) =
      find<int(Handle, unsigned int*, ProcessInfo*)>("nvmlDeviceGetComputeRunningProcesses_v3");
  SelectedNumberOf* clock_mhz = find<SelectedNumberOf>("nvmlDeviceGetClockInfo");
  SelectedNumberOf* clock_max_mhz = find<SelectedNumberOf>("nvmlDeviceGetMaxClockInfo");
  SelectedNumberOf* temperature_c = find<SelectedNumberOf>("nvmlDeviceGetTemperature");
  NumberOf* power_mw = find<NumberOf>("nvmlDeviceGetPowerUsage");
  NumberOf* power_limit_mw = find<NumberOf>("nvmlDeviceGetEnforcedPowerLimit");
  NumberOf* link_generation = find<NumberOf>("nvmlDeviceGetCurrPcieLinkGeneration");
  NumberOf* link_width = find<NumberOf>("nvmlDeviceGetCurrPcieLinkWidth");
  NumberOf* link_generation_max = find<NumberOf>("nvmlDeviceGetMaxPcieLinkGeneration");
  NumberOf* link_width_max = find<NumberOf>("nvmlDeviceGetMaxPcieLinkWidth");
  int (*event_reasons)(Handle, unsigned long long*) =
      find<int(Handle, unsigned long long*)>("nvmlDeviceGetCurrentClocksEventReasons");
  int (*throttle_reasons)(Handle, unsigned long long*) =  // its name before driver 535
      find<int(Handle, unsigned long long*)>("nvmlDeviceGetCurrentClocksThrottleReasons");
};

namespace {

template <typename Function, typename... Arguments>
bool succeeds(Function* function, Arguments... arguments) {
  return function != nullptr && function(arguments...) == kSuccess;
}

template <typename Function, typename... Arguments>
std::optional<std::string> text(Function* function, Arguments... arguments) {
  std::array<char, 128> buffer{};  // the longest that the interface knows, a UUID, has 96
  if (!succeeds(function, arguments..., buffer.data(), static_cast<unsigned int>(buffer.size() - 1))) {
    return std::nullopt;
  }
  return std::string(buffer.data());
}

template <typename Function, typename... Arguments>
std::optional<int> number(Function* function, Arguments... arguments) {
  unsigned int value = 0;
  if (!succeeds(function, arguments..., &value)) return std::nullopt;
  return static_cast<int>(value);
}

std::optional<double> thousandth(std::optional<int> value) {
  if (!value) return std::nullopt;
  return *value / 1000.0;
}

std::optional<PcieLink> both(std::optional<int> generation, std::optional<int> width) {
  if (!generation || !width) return std::nullopt;
  return PcieLink{*generation, *width};
}

}  // namespace

std::optional<std::string> NvmlDevice::name() const { return text(library_->name, handle_); }

std::optional<std::string> NvmlDevice::uuid() const { return text(library_->uuid, handle_); }

std::optional<std::string> NvmlDevice::pci_bus_id() const {
  PciInfo info{};
  if (!succeeds(library_->pci_info, handle_, &info)) return std::nullopt;
  return std::string(info.bus_id);
}

std::optional<GpuMemory> NvmlDevice::memory() const {
  MemoryInfo info{};
  if (!succeeds(library_->memory, handle_, &info)) return std::nullopt;
  return GpuMemory{static_cast<int64_t>(info.total), static_cast<int64_t>(info.used)};
}

std::optional<int64_t> NvmlDevice::used_bytes() const {
  const auto now = memory();
  return now ? std::optional(now->used_bytes) : std::nullopt;
}

std::optional<std::vector<GpuProcess>> NvmlDevice::compute_processes() const {
  if (library_->processes == nullptr) return std::nullopt;
  // The first call asks for the number only; some may start before the second.
  unsigned int count = 0;
  int code = library_->processes(handle_, &count, nullptr);
  std::vector<ProcessInfo> infos;
  for (int attempt = 0; code == kInsufficientSize && attempt < 4; ++attempt) {
    count += 8;
    infos.resize(count);
    code = library_->processes(handle_, &count, infos.data());
  }
  if (code != kSuccess) return std::nullopt;
  infos.resize(count);
  std::vector<GpuProcess> processes;
  for (const ProcessInfo& info : infos) {
    GpuProcess& process = processes.emplace_back(GpuProcess{info.pid, std::nullopt});
    if (info.used_memory != kNotAvailable) process.used_bytes = static_cast<int64_t>(info.used_memory);
  }
  return processes;
}

std::optional<int> NvmlDevice::sm_clock_mhz() const { return number(library_->clock_mhz, handle_, kSmClock); }

std::optional<int> NvmlDevice::sm_clock_max_mhz() const { return number(library_->clock_max_mhz, handle_, kSmClock); }

std::optional<int> NvmlDevice::memory_clock_mhz() const { return number(library_->clock_mhz, handle_, kMemoryClock); }

std::optional<int> NvmlDevice::temperature_c() const { return number(library_->temperature_c, handle_, kCoreSensor); }

std::optional<double> NvmlDevice::power_w() const { return thousandth(number(library_->power_mw, handle_)); }

std::optional<double> NvmlDevice::power_limit_w() const {
  return thousandth(number(library_->power_limit_mw, handle_));
}

std::optional<PcieLink> NvmlDevice::link() const {
  return both(number(library_->link_generation, handle_), number(library_->link_width, handle_));
}

std::optional<PcieLink> NvmlDevice::link_max() const {
  return both(number(library_->link_generation_max, handle_), number(library_->link_width_max, handle_));
}

std::optional<uint64_t> NvmlDevice::clock_event_reasons() const {
  unsigned long long bits = 0;
  if (succeeds(library_->event_reasons, handle_, &bits)) return bits;
  if (succeeds(library_->throttle_reasons, handle_, &bits)) return bits;
  return std::nullopt;
}

Nvml Nvml::open() {
  const char* set = std::getenv("ZO2_NVML_LIBRARY");
  const char* path = set != nullptr ? set : "libnvidia-ml.so.1";
  Nvml nvml;
  void* opened = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (opened == nullptr) {
    const char* error = dlerror();
    nvml.reason_ = fmt::format("no NVML: {}", error != nullptr ? error : path);
    return nvml;
  }
  const auto library = std::make_shared<NvmlLibrary>(opened);
  if (library->init == nullptr) {
    nvml.reason_ = fmt::format("no NVML: {} has no nvmlInit_v2", path);
    return nvml;
  }
  if (const int code = library->init(); code != kSuccess) {
    nvml.reason_ =
        fmt::format("NVML does not start: {}",
                    library->error_text != nullptr ? library->error_text(code) : fmt::format("error {}", code));
    return nvml;
  }
  library->initialised = true;
  nvml.library_ = library;
  return nvml;
}

std::optional<std::string> Nvml::driver_version() const {
  if (!library_) return std::nullopt;
  return text(library_->driver_version);
}

int Nvml::device_count() const {
  if (!library_) return 0;
  return number(library_->count).value_or(0);
}

std::optional<NvmlDevice> Nvml::device(int index) const {
  if (index < 0 || index >= device_count()) return std::nullopt;
  Handle handle = nullptr;
  if (!succeeds(library_->by_index, static_cast<unsigned int>(index), &handle)) return std::nullopt;
  return NvmlDevice(library_, handle);
}

std::optional<NvmlDevice> Nvml::visible_device() const {
  const char* set = std::getenv("CUDA_VISIBLE_DEVICES");
  if (set == nullptr) return device(0);
  const std::string_view list = set;
  const std::string_view first = list.substr(0, list.find(','));
  int index = 0;
  const auto [end, error] = std::from_chars(first.data(), first.data() + first.size(), index);
  if (error == std::errc() && end == first.data() + first.size()) return device(index);
  if (!first.starts_with("GPU-")) return std::nullopt;
  for (int i = 0; i < device_count(); ++i) {
    std::optional<NvmlDevice> candidate = device(i);
    if (candidate && candidate->uuid().value_or("").starts_with(first)) return candidate;
  }
  return std::nullopt;
}

std::vector<std::string_view> throttle_reasons(uint64_t clock_event_reasons) {
  std::vector<std::string_view> names;
  for (const ReasonName& reason : kThrottleReasons) {
    if ((clock_event_reasons & reason.bit) != 0) names.push_back(reason.name);
  }
  return names;
}

}  // namespace zo2

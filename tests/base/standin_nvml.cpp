// A stand-in for the driver's NVML library: the functions that src/base/nvml.cpp opens, with values of a test's choice.
//
// Values come from the file $ZO2_STANDIN_NVML, read anew at each call, so that they can change while a program runs:
//   driver=580.1          devices=2 (default 1)        init_error=9
//   0.name=Some GPU       0.uuid=GPU-1                 0.bus_id=00000000:01:00.0
//   0.total_bytes=8000    0.used_bytes=500             0.processes=12:300 13:?   (pid:bytes)
//   0.sm_clock_mhz= 0.sm_clock_max_mhz= 0.memory_clock_mhz= 0.temperature_c= 0.power_mw= 0.power_limit_mw= 0.reasons=
//   0.link_generation= 0.link_width= 0.link_generation_max= 0.link_width_max=
// What is not in the file is "not supported". Built with ZO2_STANDIN_OLD it lacks all functions but a few, and has one
// under its old name, as the libraries of old drivers do.
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>

namespace {

constexpr int kSuccess = 0;
constexpr int kInvalidArgument = 2;
constexpr int kNotSupported = 3;
constexpr int kInsufficientSize = 7;

std::optional<std::string> value_of(const std::string& key) {
  const char* path = std::getenv("ZO2_STANDIN_NVML");
  std::ifstream stream(path != nullptr ? path : "");
  std::string line;
  while (std::getline(stream, line)) {
    if (line.starts_with(key + "=")) return line.substr(key.size() + 1);
  }
  return std::nullopt;
}

char handles[16];  // a device's handle is the address of its element

std::string key_of(void* device, const char* name) {
  return std::to_string(static_cast<char*>(device) - handles) + "." + name;
}

int text(const std::string& key, char* buffer, unsigned int size) {
  const auto value = value_of(key);
  if (!value) return kNotSupported;
  if (value->size() >= size) return kInsufficientSize;
  std::memcpy(buffer, value->c_str(), value->size() + 1);
  return kSuccess;
}

template <typename Number>
int number(const std::string& key, Number* number) {
  const auto value = value_of(key);
  if (!value) return kNotSupported;
  *number = static_cast<Number>(std::stoull(*value));
  return kSuccess;
}

}  // namespace

extern "C" {
// NOLINTBEGIN(readability-identifier-naming): the names that the library has.

int nvmlInit_v2() {
  int code = kSuccess;
  number("init_error", &code);
  return code;
}
int nvmlShutdown() { return kSuccess; }
const char* nvmlErrorString(int code) { return code == 9 ? "Driver Not Loaded" : "Another Error"; }

int nvmlDeviceGetCount_v2(unsigned int* count) {
  *count = 1;
  number("devices", count);
  return kSuccess;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void** device) {
  unsigned int count = 0;
  nvmlDeviceGetCount_v2(&count);
  if (index >= count) return kInvalidArgument;
  *device = &handles[index];
  return kSuccess;
}

struct Memory {
  unsigned long long total, free, used;
};
int nvmlDeviceGetMemoryInfo(void* device, Memory* memory) {
  const int code = number(key_of(device, "used_bytes"), &memory->used);
  number(key_of(device, "total_bytes"), &memory->total);
  memory->free = memory->total - memory->used;
  return code;
}
int nvmlDeviceGetName(void* device, char* buffer, unsigned int size) {
  return text(key_of(device, "name"), buffer, size);
}

#ifdef ZO2_STANDIN_OLD

int nvmlDeviceGetCurrentClocksThrottleReasons(void* device, unsigned long long* bits) {
  return number(key_of(device, "reasons"), bits);
}

#else

int nvmlSystemGetDriverVersion(char* buffer, unsigned int size) { return text("driver", buffer, size); }
int nvmlDeviceGetUUID(void* device, char* buffer, unsigned int size) {
  return text(key_of(device, "uuid"), buffer, size);
}

struct Pci {
  char bus_id_legacy[16];
  unsigned int numbers[5];
  char bus_id[32];
};
int nvmlDeviceGetPciInfo_v3(void* device, Pci* pci) {
  return text(key_of(device, "bus_id"), pci->bus_id, sizeof pci->bus_id);
}

struct Process {
  unsigned int pid;
  unsigned long long used;
  unsigned int gpu_instance, compute_instance;
};
int nvmlDeviceGetComputeRunningProcesses_v3(void* device, unsigned int* count, Process* processes) {
  const auto value = value_of(key_of(device, "processes"));
  if (!value) return kNotSupported;
  std::istringstream words(*value);
  std::string word;
  const unsigned int room = *count;
  for (*count = 0; words >> word; ++*count) {
    if (*count >= room) continue;
    const std::string bytes = word.substr(word.find(':') + 1);
    processes[*count] = {static_cast<unsigned int>(std::stoul(word)), bytes == "?" ? ~0ULL : std::stoull(bytes), ~0U,
                         ~0U};
  }
  return *count > room ? kInsufficientSize : kSuccess;
}

int nvmlDeviceGetClockInfo(void* device, int clock, unsigned int* mhz) {
  if (clock != 1 && clock != 2) return kInvalidArgument;
  return number(key_of(device, clock == 1 ? "sm_clock_mhz" : "memory_clock_mhz"), mhz);
}
int nvmlDeviceGetMaxClockInfo(void* device, int clock, unsigned int* mhz) {
  return clock == 1 ? number(key_of(device, "sm_clock_max_mhz"), mhz) : kInvalidArgument;
}
int nvmlDeviceGetTemperature(void* device, int sensor, unsigned int* degrees) {
  return sensor == 0 ? number(key_of(device, "temperature_c"), degrees) : kInvalidArgument;
}
int nvmlDeviceGetPowerUsage(void* device, unsigned int* mw) { return number(key_of(device, "power_mw"), mw); }
int nvmlDeviceGetEnforcedPowerLimit(void* device, unsigned int* mw) {
  return number(key_of(device, "power_limit_mw"), mw);
}
int nvmlDeviceGetCurrPcieLinkGeneration(void* device, unsigned int* generation) {
  return number(key_of(device, "link_generation"), generation);
}
int nvmlDeviceGetCurrPcieLinkWidth(void* device, unsigned int* width) {
  return number(key_of(device, "link_width"), width);
}
int nvmlDeviceGetMaxPcieLinkGeneration(void* device, unsigned int* generation) {
  return number(key_of(device, "link_generation_max"), generation);
}
int nvmlDeviceGetMaxPcieLinkWidth(void* device, unsigned int* width) {
  return number(key_of(device, "link_width_max"), width);
}
int nvmlDeviceGetCurrentClocksEventReasons(void* device, unsigned long long* bits) {
  return number(key_of(device, "reasons"), bits);
}

#endif

// NOLINTEND(readability-identifier-naming)
}  // extern "C"

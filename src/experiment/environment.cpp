#include "experiment/environment.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/sha256.h"
#include "experiment/process.h"

namespace zo2 {
namespace {

namespace fs = std::filesystem;

std::string after_colon(const char* path, std::string_view name) {
  std::ifstream stream(path);
  std::string line;
  while (std::getline(stream, line)) {
    if (!line.starts_with(name)) continue;
    const size_t start = line.find_first_not_of(" \t", line.find(':') + 1);
    return start == std::string::npos ? "unknown" : line.substr(start);
  }
  return "unknown";
}

std::string kernel() {
  utsname names{};
  if (uname(&names) != 0) return "unknown";
  return fmt::format("{} {} {}", names.sysname, names.release, names.machine);
}

// What the build wrote beside the program: the commit of its sources, "-dirty" behind it when files differed. Not in
// the program itself, whose hash decides what is measured again.
std::string git_commit(const fs::path& program) {
  std::string commit;
  std::ifstream built(program.string() + ".commit");
  return std::getline(built, commit) && !commit.empty() ? commit : "unknown";
}

std::string compile_flags() {
#ifdef ZO2_CXX_FLAGS
  return ZO2_CXX_FLAGS;
#else
  return "unknown";
#endif
}

std::string build_kind() {
#if defined(__SANITIZE_ADDRESS__)
  return "address sanitizer";
#elif defined(__SANITIZE_THREAD__)
  return "thread sanitizer";
#elif defined(__OPTIMIZE__)
  return "optimised";
#else
  return "not optimised";
#endif
}

std::string compiler() {
#ifdef __clang__
  return "clang " __clang_version__;
#else
  return "gcc " __VERSION__;
#endif
}

int64_t memory_bytes() { return static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE); }

Json describe_gpu(const Nvml& nvml) {
  const std::optional<NvmlDevice> device = nvml.visible_device();
  if (!device) return nullptr;
  const auto or_null = [](const auto& value) { return value ? Json(*value) : Json(nullptr); };
  const auto memory = device->memory();
  const auto link = device->link_max();
  return {{"name", or_null(device->name())},
          {"memory_bytes", memory ? Json(memory->total_bytes) : Json(nullptr)},
          {"driver", or_null(nvml.driver_version())},
          {"sm_clock_max_mhz", or_null(device->sm_clock_max_mhz())},
          {"power_limit_w", or_null(device->power_limit_w())},
          {"pcie_generation_max", link ? Json(link->generation) : Json(nullptr)},
          {"pcie_width_max", link ? Json(link->width) : Json(nullptr)}};
}

}  // namespace

Json describe_environment(const fs::path& program, const Nvml& nvml) {
  return {{"cpu_model", after_colon("/proc/cpuinfo", "model name")},
          {"cores", std::thread::hardware_concurrency()},
          {"memory_bytes", memory_bytes()},
          {"kernel", kernel()},
          {"compiler", compiler()},
          {"compile_flags", compile_flags()},
          {"build", build_kind()},
          {"git_commit", git_commit(program)},
          {"binary_sha256", sha256_hex_of_file(program)},
          {"gpu", describe_gpu(nvml)}};
}

fs::path experiments_folder() {
  std::vector<fs::path> candidates;
  if (const char* set = std::getenv("ZO2_EXPERIMENTS")) candidates.emplace_back(set);
  const fs::path beside = self_executable().parent_path();
  candidates.insert(candidates.end(), {"experiments", beside / "experiments", beside.parent_path() / "experiments"});
  std::string looked;
  for (const fs::path& candidate : candidates) {
    if (fs::is_directory(candidate / "reference")) return candidate;
    looked += (looked.empty() ? "" : ", ") + candidate.string();
  }
  throw IoError(fmt::format("cannot find the folder experiments/ (looked for {}); set ZO2_EXPERIMENTS", looked));
}

}  // namespace zo2

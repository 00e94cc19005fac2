// zo2 doctor: what this build and this machine can do.
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <thread>

#include "base/bytes.h"
#include "base/error.h"
#include "base/nvml.h"
#include "cli/commands.h"
#include "experiment/environment.h"
#include "noise/simd.h"
#include "runtime/cpu/linalg.h"
#include "store/host_memory.h"

namespace zo2 {
namespace {

struct Check {
  std::string name;
  std::string found;
  std::string advice;  // empty: fine
};

// Of the GPU that runs use.
void add_gpu_checks(bool driver_loaded, std::vector<Check>& list) {
  const Nvml nvml = Nvml::open();
  list.push_back({"NVIDIA driver", nvml.driver_version().value_or(driver_loaded ? "loaded" : "none"),
                  driver_loaded ? nvml.reason() : ""});
  const auto gpu = nvml.visible_device();
  if (!gpu) {
    list.push_back({"GPU", "none", nvml.device_count() > 0 ? "CUDA_VISIBLE_DEVICES hides what there is" : ""});
    return;
  }
  list.push_back({"GPU", gpu->name().value_or("unknown"), ""});
  if (const auto memory = gpu->memory()) {
    const size_t others = gpu->compute_processes().value_or(std::vector<GpuProcess>()).size();
    list.push_back({"GPU memory in use",
                    fmt::format("{} of {}", format_bytes(memory->used_bytes), format_bytes(memory->total_bytes)),
                    others > 0
                        ? fmt::format("{} process{} on it: measure when it is free", others, others == 1 ? "" : "es")
                        : ""});
  }
  if (const auto most_mhz = gpu->sm_clock_max_mhz()) {
    // Recorded with each run and never changed here: that takes root, and is felt by everybody on the machine.
    const std::string smi = "sudo nvidia-smi -i " + gpu->pci_bus_id().value_or("0");
    list.push_back(
        {"GPU clocks",
         fmt::format("up to {} MHz; to hold them while measuring: {} --lock-gpu-clocks=MHZ, and after it: {} "
                     "--reset-gpu-clocks",
                     *most_mhz, smi, smi),
         ""});
  }
  const auto link = gpu->link();
  const auto best = gpu->link_max();
  if (!link || !best) return;
  // An idle GPU lowers the generation by itself, but not the width.
  list.push_back(
      {"PCIe link",
       fmt::format("generation {} x{} (best: {} x{})", link->generation, link->width, best->generation, best->width),
       link->width < best->width ? "not all lanes work, and uploads are slower: look at slot and riser" : ""});
}

std::vector<Check> checks() {
  std::vector<Check> list;
  list.push_back({"cores",
                  fmt::format("{} ({} compute threads)", std::thread::hardware_concurrency(), cpu::default_threads()),
                  ""});
  list.push_back({"noise instructions", std::string(simd_level_name(best_simd_level())), ""});
  const int64_t memory = available_host_bytes();
  list.push_back({"host memory available", format_bytes(memory),
                  memory < 4 * kGiB ? "OPT-1.3B in 16 bits needs 2.6 GB for its weights" : ""});
  try {
    list.push_back({"experiments folder", experiments_folder().filename().string(), ""});
  } catch (const Error& error) {
    list.push_back({"experiments folder", "not found", error.what()});
  }
  const bool driver = ::access("/proc/driver/nvidia/version", R_OK) == 0;
  add_gpu_checks(driver, list);
#ifdef ZO2_HAVE_CUDA
  list.push_back({"CUDA", "compiled in", ""});
#else
  list.push_back({"CUDA", "not in this build", driver ? "this machine has a GPU: configure with -DZO2_CUDA=ON" : ""});
#endif
  return list;
}

int doctor(bool json) {
  const std::vector<Check> list = checks();
  int exit_code = 0;
  Json rows = Json::array();
  for (const Check& check : list) {
    if (!check.advice.empty()) exit_code = 1;
    rows.push_back({{"check", check.name}, {"found", check.found}, {"advice", check.advice}});
    if (!json)
      fmt::print("{:<24} {}{}{}\n", check.name, check.found, check.advice.empty() ? "" : "  <- ", check.advice);
  }
  if (json) fmt::print("{}\n", rows.dump(2));
  return exit_code;
}

}  // namespace

void add_doctor(CLI::App& app, int& exit_code) {
  auto json = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand("doctor", "What this build and this machine can do; exit code 1 with advice");
  command->add_flag("--json", *json, "Print JSON");
  command->callback([json, &exit_code] { exit_code = doctor(*json); });
}

}  // namespace zo2

// zo2 doctor: what this build and this machine can do.
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <thread>

#include "base/bytes.h"
#include "base/error.h"
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
  list.push_back({"NVIDIA driver", driver ? "loaded" : "none", ""});
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

#include "program/hardware.h"

#include <yaml-cpp/yaml.h>

#include <cmath>
#include <map>

#include "base/bytes.h"
#include "base/error.h"

namespace zo2 {
namespace {

int64_t bytes_of(double mib) { return static_cast<int64_t>(mib * static_cast<double>(kMiB)); }

}  // namespace

int64_t Hardware::memory_bytes() const { return bytes_of(memory_mib); }
int64_t Hardware::idle_bytes() const { return bytes_of(idle_mib); }

int64_t Hardware::nvml_bytes(int64_t arena_bytes, int64_t registered_bytes) const {
  const double registered_gib = static_cast<double>(registered_bytes) / static_cast<double>(kGiB);
  const double outside_mib = idle_mib + context_mib + workspace_mib + registered_mib_per_gib * registered_gib;
  return arena_bytes + bytes_of(outside_mib);
}

Hardware read_hardware(const std::filesystem::path& path) {
  Hardware hardware;
  std::map<std::string, double*> keys{{"upload_gbps", &hardware.upload_gbps},
                                      {"download_gbps", &hardware.download_gbps},
                                      {"duplex_upload_gbps", &hardware.duplex_upload_gbps},
                                      {"duplex_download_gbps", &hardware.duplex_download_gbps},
                                      {"gemm_tflops", &hardware.gemm_tflops},
                                      {"gemm_ramp_tokens", &hardware.gemm_ramp_tokens},
                                      {"attention_tflops", &hardware.attention_tflops},
                                      {"visit_gparams", &hardware.visit_gparams},
                                      {"memory_gbps", &hardware.memory_gbps},
                                      {"launch_us", &hardware.launch_us},
                                      {"memory_mib", &hardware.memory_mib},
                                      {"idle_mib", &hardware.idle_mib},
                                      {"context_mib", &hardware.context_mib},
                                      {"workspace_mib", &hardware.workspace_mib},
                                      {"registered_mib_per_gib", &hardware.registered_mib_per_gib}};
  try {
    const YAML::Node root = YAML::LoadFile(path.string());
    for (const auto& item : root) {
      const auto key = item.first.as<std::string>();
      if (key == "name") {
        hardware.name = item.second.as<std::string>();
      } else if (key != "source") {
        const auto found = keys.find(key);
        ZO2_CHECK(found != keys.end(), UsageError, "{}:{}: unknown key '{}'", path.string(), item.first.Mark().line + 1,
                  key);
        const auto value = item.second.as<double>();
        const bool rate = key.ends_with("_gbps") || key.ends_with("_tflops") || key.ends_with("_gparams");
        ZO2_CHECK(std::isfinite(value) && (rate ? value > 0 : value >= 0), UsageError, "{}:{}: {} must be a {} number",
                  path.string(), item.first.Mark().line + 1, key, rate ? "positive" : "non-negative");
        *found->second = value;
        keys.erase(found);
      }
    }
  } catch (const YAML::Exception& error) {
    throw UsageError(fmt::format("{}: {}", path.string(), error.what()));
  }
  ZO2_CHECK(keys.empty(), UsageError, "{}: '{}' is missing", path.string(), keys.begin()->first);
  return hardware;
}

}  // namespace zo2

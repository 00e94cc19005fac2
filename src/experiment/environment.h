// What a record says about the machine and the program. Never a user or host name, never an absolute path.
#pragma once

#include <filesystem>
#include <string>

#include "base/json.h"
#include "base/nvml.h"

namespace zo2 {

// {"cpu_model", "cores", "memory_bytes", "kernel", "compiler", "compile_flags", "build", "git_commit",
//  "binary_sha256", "gpu"}; what cannot be found out is "unknown". `program` is the file that runs the cells.
// "gpu" is null without one, else {"name", "memory_bytes", "driver", "sm_clock_max_mhz", "power_limit_w",
// "pcie_generation_max", "pcie_width_max"} of the visible device, with null for what it does not tell.
Json describe_environment(const std::filesystem::path& program, const Nvml& nvml);

// The folder experiments/ that belongs to this program: $ZO2_EXPERIMENTS, ./experiments, beside the program, or one
// folder up. Throws IoError that lists where it looked.
std::filesystem::path experiments_folder();

}  // namespace zo2

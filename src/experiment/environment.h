// What a record says about the machine and the program. Never a user or host name, never an absolute path.
#pragma once

#include <filesystem>
#include <string>

#include "base/json.h"

namespace zo2 {

// {"cpu_model", "cores", "memory_bytes", "kernel", "compiler", "compile_flags", "build", "git_commit",
//  "binary_sha256"}; what cannot be found out is "unknown". `program` is the file that runs the cells.
Json describe_environment(const std::filesystem::path& program);

// The folder experiments/ that belongs to this program: $ZO2_EXPERIMENTS, ./experiments, beside the program, or one
// folder up. Throws IoError that lists where it looked.
std::filesystem::path experiments_folder();

}  // namespace zo2

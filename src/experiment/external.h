// Method `external`: any program as a cell, under the same runner, time limits and NVML sampler as ours.
//
//   method: {name: external, command: [python3, other.py, --batch, "{batch}"], marker: "RESULT "}
//
// The command runs where `zo2 run` was started. In its words {model}, {batch}, {seq}, {dtype}, {steps} and {warmup}
// become the cell's values, and so does any dotted key ({data.seed}). It prints one line that begins with the marker
// and goes on with a JSON object:
//   a name of the metric table  a number, in the table's unit
//   "state"                     ok (the default), oom or diverged
//   "error"                     why, for people
//   "device"                    "cpu" or "cuda"; otherwise engine.device says where it ran
//   anything else               is kept under "extra" in the result, with a warning
// Without that line, or with another exit code than 0, the repeat has crashed; it ran out of memory when its output
// says so in PyTorch's or CUDA's words.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/json.h"
#include "experiment/process.h"

namespace zo2 {

bool is_external(const Json& config);

// The words of the command. Throws UsageError when there is none, or for a {name} that is no key.
std::vector<std::string> external_command(const Json& config);

// SHA-256 of the command: of the contents of the files that it names, and of its other words. In place of the SHA-256
// of our program in env.json, so that a changed script is measured again.
std::string external_sha256(const std::vector<std::string>& command);

// Writes kReportedFile (repeat_result.h) from the output of the process that ran in `folder`; nothing when it ended
// badly without a word of why.
void report_external(const std::filesystem::path& folder, const Json& config, const std::string& config_hash,
                     const ProcessResult& process);

}  // namespace zo2

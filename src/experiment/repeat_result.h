// From a process that has ended to the result of its repeat.
#pragma once

#include <filesystem>
#include <string>

#include "base/json.h"
#include "experiment/process.h"

namespace zo2 {

// What a repeat's process says about itself: written by it into the repeat's folder, like a result.json without the
// runner's members, and gone once the runner has made result.json of it.
inline constexpr const char* kReportedFile = "reported.json";

// What the process in `folder` reported and how it ended, as one result: a good report counts only with exit code 0,
// and what the process could not say (a signal, a timeout) is added, with the end of its standard error, or of its
// output when that is empty.
Json result_of(const std::filesystem::path& folder, const std::string& config_hash, const ProcessResult& process);

// Where the repeat ran, "cpu" or "cuda"; what it was asked ("auto" included) when it did not say.
std::string device_of(const Json& result, const Json& config);

// The last lines of a file of text.
std::string last_lines(const std::filesystem::path& path);

}  // namespace zo2

// What the env.json files of several records say, put together.
#pragma once

#include <map>
#include <set>
#include <span>
#include <string>

#include "experiment/record.h"

namespace zo2 {

// Every name with the values that it has, as text; members of objects by dotted name: "gpu.name".
std::map<std::string, std::set<std::string>> environment_values(std::span<const Record> records);

// One value, or every one: "H100 | A100".
std::string joined(const std::set<std::string>& values);

}  // namespace zo2

#include "experiment/environment_values.h"

#include <fmt/ranges.h>

#include <algorithm>

namespace zo2 {

std::map<std::string, std::set<std::string>> environment_values(std::span<const Record> records) {
  std::map<std::string, std::set<std::string>> values;
  for (const Record& record : records) {
    if (!record.environment.is_object() || record.environment.empty()) continue;
    const Json flat = record.environment.flatten();
    for (const auto& [pointer, value] : flat.items()) {
      std::string name = pointer.substr(1);
      std::ranges::replace(name, '/', '.');
      values[name].insert(json_text(value));
    }
  }
  return values;
}

std::string joined(const std::set<std::string>& values) { return fmt::format("{}", fmt::join(values, " | ")); }

}  // namespace zo2

#include "experiment/problems.h"

#include <vector>

#include "base/error.h"

namespace zo2 {

void Problems::add(const Position& where, const std::string& message) {
  lines_.emplace(where.file, where.line, where.column, message);
}

void Problems::throw_if_any() const {
  if (lines_.empty()) return;
  std::vector<std::string> text;
  for (const auto& [file, line, column, message] : lines_) {
    text.push_back(line == 0 ? fmt::format("{}: {}", file, message)
                             : fmt::format("{}:{}:{}: {}", file, line, column, message));
  }
  throw UsageError(fmt::format("{}", fmt::join(text, "\n")));
}

}  // namespace zo2

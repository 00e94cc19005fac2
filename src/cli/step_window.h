// Steps as the command line names them: FIRST:END, the last one not included.
#pragma once

#include <fmt/format.h>

#include <charconv>
#include <string_view>

#include "base/error.h"
#include "runtime/trace.h"

namespace zo2 {

// Throws UsageError unless the text is FIRST:END with 0 <= FIRST < END.
inline TraceWindow parse_steps(std::string_view text) {
  int64_t first = -1;
  int64_t end = -1;
  const size_t colon = text.find(':');
  const auto number = [](std::string_view digits, int64_t& value) {
    const auto [rest, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    return error == std::errc() && rest == digits.data() + digits.size();
  };
  const bool good = colon != std::string_view::npos && number(text.substr(0, colon), first) &&
                    number(text.substr(colon + 1), end) && first >= 0 && first < end;
  ZO2_CHECK(good, UsageError, "steps are FIRST:END with 0 <= FIRST < END, such as 15:17 for 15 and 16; found '{}'",
            text);
  return {first, end - first};
}

}  // namespace zo2

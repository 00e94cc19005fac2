// A word as a POSIX shell reads it back.
#pragma once

#include <string>
#include <string_view>

namespace zo2 {

// Plain words stay as they are; others are put in single quotes.
std::string shell_quoted(std::string_view word);

}  // namespace zo2

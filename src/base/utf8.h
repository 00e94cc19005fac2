// UTF-8 text of unknown quality, such as what a language model writes: never an error, U+FFFD for what is none.
#pragma once

#include <string>
#include <string_view>

namespace zo2 {

// Takes the next character off the text, which must not be empty. Bytes that could begin a character and do not end one
// are taken together and become one U+FFFD (Unicode 15, section 3.9, "maximal subpart"; Python's errors="replace").
char32_t take_character(std::string_view& text);

void append_character(std::string& text, char32_t c);

std::string repaired_utf8(std::string_view text);

}  // namespace zo2

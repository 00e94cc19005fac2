#include "base/utf8.h"

namespace zo2 {
namespace {

// What a lead byte says: how many bytes follow, and between which bounds the first of them lies (no overlong forms, no
// surrogates, nothing beyond U+10FFFF: Unicode 15, table 3-7).
struct Lead {
  int more = -1;  // -1: no lead byte
  unsigned char least = 0x80;
  unsigned char most = 0xBF;
};

Lead lead_of(unsigned char byte) {
  if (byte < 0x80) return {0};
  if (byte >= 0xC2 && byte <= 0xDF) return {1};
  if (byte == 0xE0) return {2, 0xA0};
  if (byte == 0xED) return {2, 0x80, 0x9F};
  if (byte >= 0xE1 && byte <= 0xEF) return {2};
  if (byte == 0xF0) return {3, 0x90};
  if (byte == 0xF4) return {3, 0x80, 0x8F};
  if (byte >= 0xF1 && byte <= 0xF3) return {3};
  return {};
}

}  // namespace

char32_t take_character(std::string_view& text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  Lead lead = lead_of(byte(0));
  size_t taken = 1;
  char32_t c = lead.more <= 0 ? byte(0) : byte(0) & (0x3FU >> static_cast<unsigned>(lead.more));
  bool valid = lead.more >= 0;
  for (; valid && lead.more > 0; --lead.more) {
    valid = taken < text.size() && byte(taken) >= lead.least && byte(taken) <= lead.most;
    if (!valid) break;
    c = (c << 6U) | (byte(taken) & 0x3FU);
    ++taken;
    lead.least = 0x80;
    lead.most = 0xBF;
  }
  text.remove_prefix(taken);
  return valid ? c : U'\uFFFD';
}

void append_character(std::string& text, char32_t c) {
  if (c < 0x80) {
    text += static_cast<char>(c);
    return;
  }
  const int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
  constexpr unsigned kLead[] = {0, 0xC0, 0xE0, 0xF0};
  text += static_cast<char>(kLead[more] | (c >> (6U * static_cast<unsigned>(more))));
  for (int i = more - 1; i >= 0; --i) {
    text += static_cast<char>(0x80U | ((c >> (6U * static_cast<unsigned>(i))) & 0x3FU));
  }
}

std::string repaired_utf8(std::string_view text) {
  std::string repaired;
  while (!text.empty()) append_character(repaired, take_character(text));
  return repaired;
}

}  // namespace zo2

#include "task/vocabulary.h"

#include <array>
#include <fstream>
#include <utility>

#include "base/error.h"
#include "base/utf8.h"

namespace zo2 {
namespace {

int digit_of(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; }

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

// transformers, tokenization_utils_base.py, clean_up_tokenization: these, in this order.
void clean_up(std::string& text) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 10> kRules{{{" .", "."},
                                                                                  {" ?", "?"},
                                                                                  {" !", "!"},
                                                                                  {" ,", ","},
                                                                                  {" ' ", "'"},
                                                                                  {" n't", "n't"},
                                                                                  {" 'm", "'m"},
                                                                                  {" 's", "'s"},
                                                                                  {" 've", "'ve"},
                                                                                  {" 're", "'re"}}};
  for (const auto& [from, to] : kRules) replace_all(text, from, to);
}

}  // namespace

Vocabulary Vocabulary::open(const std::filesystem::path& path, int64_t size) {
  std::ifstream stream(path);
  ZO2_CHECK(stream, IoError, "cannot read {}", path.string());
  Vocabulary vocabulary;
  std::string line;
  while (std::getline(stream, line)) {
    std::string& bytes = vocabulary.bytes_.emplace_back();
    for (size_t i = 0; i < line.size(); i += 2) {
      const int high = digit_of(line[i]);
      const int low = i + 1 < line.size() ? digit_of(line[i + 1]) : -1;
      ZO2_CHECK(high >= 0 && low >= 0, UsageError, "{}:{}: not bytes in hexadecimal", path.string(),
                vocabulary.bytes_.size());
      bytes += static_cast<char>(16 * high + low);
    }
  }
  ZO2_CHECK(static_cast<int64_t>(vocabulary.bytes_.size()) == size, UsageError, "{}: {} lines for a vocabulary of {}",
            path.string(), vocabulary.bytes_.size(), size);
  return vocabulary;
}

std::string Vocabulary::text(std::span<const int32_t> ids) const {
  std::string bytes;
  for (int32_t id : ids) {
    if (static_cast<size_t>(id) < bytes_.size()) bytes += bytes_[static_cast<size_t>(id)];
  }
  std::string text = repaired_utf8(bytes);
  clean_up(text);
  constexpr std::string_view kSpaces = " \t\n\r\f\v";
  const size_t first = text.find_first_not_of(kSpaces);
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(kSpaces) - first + 1);
}

}  // namespace zo2

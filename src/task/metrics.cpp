#include "task/metrics.h"

#include <algorithm>
#include <cctype>
#include <clocale>
#include <cmath>
#include <cwctype>
#include <limits>
#include <map>
#include <vector>

#include "base/error.h"
#include "base/utf8.h"

namespace zo2 {
namespace {

// Properties of Unicode characters; C.UTF-8 is part of glibc.
class Characters {
 public:
  Characters() : locale_(::newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr)) {
    ZO2_CHECK(locale_ != nullptr, IoError, "the C library has no locale C.UTF-8: install it (libc-bin)");
  }
  Characters(const Characters&) = delete;
  Characters& operator=(const Characters&) = delete;
  ~Characters() { ::freelocale(locale_); }

  char32_t lower(char32_t c) const { return static_cast<char32_t>(::towlower_l(static_cast<wint_t>(c), locale_)); }
  bool word(char32_t c) const { return ::iswalnum_l(static_cast<wint_t>(c), locale_) != 0; }
  // As Python's str.split() has it, which counts no-break spaces and separators in.
  bool space(char32_t c) const {
    return ::iswspace_l(static_cast<wint_t>(c), locale_) != 0 || c == 0x85 || c == 0xA0 || c == 0x2007 || c == 0x202F ||
           (c >= 0x1C && c <= 0x1F);
  }

 private:
  locale_t locale_;
};

const Characters& characters() {
  static const Characters instance;
  return instance;
}

bool is_punctuation(char32_t c) {  // Python's string.punctuation
  return c < 0x80 && std::ispunct(static_cast<int>(c)) != 0;
}

// Words and how often each comes.
std::map<std::string, int64_t> word_counts(std::string_view normalised) {
  std::map<std::string, int64_t> counts;
  while (!normalised.empty()) {
    const size_t end = std::min(normalised.find(' '), normalised.size());
    ++counts[std::string(normalised.substr(0, end))];
    normalised.remove_prefix(std::min(end + 1, normalised.size()));
  }
  return counts;
}

int64_t total(const std::map<std::string, int64_t>& counts) {
  int64_t sum = 0;
  for (const auto& [word, count] : counts) sum += count;
  return sum;
}

double f1_of_one(const std::map<std::string, int64_t>& predicted, const std::map<std::string, int64_t>& expected) {
  int64_t same = 0;
  for (const auto& [word, count] : predicted) {
    const auto found = expected.find(word);
    if (found != expected.end()) same += std::min(count, found->second);
  }
  if (same == 0) return 0;
  const double precision = static_cast<double>(same) / static_cast<double>(total(predicted));
  const double recall = static_cast<double>(same) / static_cast<double>(total(expected));
  return 2 * precision * recall / (precision + recall);
}

}  // namespace

double Proportion::value() const {
  return n == 0 ? std::numeric_limits<double>::quiet_NaN() : static_cast<double>(right) / static_cast<double>(n);
}

double Proportion::standard_error() const { return std::sqrt(value() * (1 - value()) / static_cast<double>(n)); }

std::string Proportion::text() const {
  return fmt::format("{:.2f} % +- {:.2f} ({} of {})", 100 * value(), 100 * standard_error(), right, n);
}

void Mean::add(double score) {
  sum += score;
  squares += score * score;
  ++n;
}

double Mean::value() const { return n == 0 ? std::numeric_limits<double>::quiet_NaN() : sum / static_cast<double>(n); }

double Mean::standard_error() const {
  const auto count = static_cast<double>(n);
  if (n < 2) return std::numeric_limits<double>::quiet_NaN();
  return std::sqrt(std::max(0.0, squares - sum * sum / count) / (count * (count - 1)));
}

std::string Mean::text() const {
  return fmt::format("{:.2f} % +- {:.2f} ({})", 100 * value(), 100 * standard_error(), n);
}

std::string normalised_answer(std::string_view text) {
  // Characters that are left once case and punctuation are gone, then runs of word characters in them: an article is a
  // run of its own.
  std::vector<char32_t> kept;
  while (!text.empty()) {
    const char32_t c = characters().lower(take_character(text));
    if (!is_punctuation(c)) kept.push_back(c);
  }
  std::u32string spaced;
  for (size_t begin = 0; begin < kept.size();) {
    size_t end = begin;
    while (end < kept.size() && characters().word(kept[end])) ++end;
    const std::u32string run(kept.begin() + static_cast<int64_t>(begin), kept.begin() + static_cast<int64_t>(end));
    spaced += run == U"a" || run == U"an" || run == U"the" ? U" " : run;
    if (end < kept.size()) spaced += characters().space(kept[end]) ? U' ' : kept[end];
    begin = end + 1;
  }
  std::string result;
  bool pending_space = false;
  for (char32_t c : spaced) {
    if (c == U' ') {
      pending_space = !result.empty();
      continue;
    }
    if (pending_space) result += ' ';
    pending_space = false;
    append_character(result, c);
  }
  return result;
}

double f1_score(std::string_view prediction, std::span<const std::string> answers) {
  ZO2_ASSERT(!answers.empty());
  const std::string predicted = normalised_answer(prediction);
  if (answers.front() == "CANNOTANSWER" || answers.front() == "no answer") {
    return predicted == normalised_answer(answers.front()) ? 1 : 0;
  }
  const auto words = word_counts(predicted);
  double best = 0;
  for (const std::string& answer : answers)
    best = std::max(best, f1_of_one(words, word_counts(normalised_answer(answer))));
  return best;
}

bool exact_match(std::string_view prediction, std::span<const std::string> answers) {
  const std::string predicted = normalised_answer(prediction);
  return std::any_of(answers.begin(), answers.end(),
                     [&](const std::string& answer) { return normalised_answer(answer) == predicted; });
}

}  // namespace zo2

// From token ids to text, for tasks whose answers are generated.
//
// A vocabulary file has a line for each id: the bytes of its text in hexadecimal, nothing for a special token.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace zo2 {

class Vocabulary {
 public:
  // Throws UsageError naming the file and the line when it is none or has not `size` lines, IoError when it cannot be
  // read.
  static Vocabulary open(const std::filesystem::path& path, int64_t size);

  // The text of ids as MeZO's run.py has it (one_step_pred: tokenizer.decode(..., skip_special_tokens=True).strip(), by
  // transformers 4.28, which cleans up spaces before punctuation and shortened words). An id beyond the vocabulary,
  // which a model with a padded table can produce, has no text; bytes that are no UTF-8 become U+FFFD.
  std::string text(std::span<const int32_t> ids) const;

 private:
  std::vector<std::string> bytes_;  // by id
};

}  // namespace zo2

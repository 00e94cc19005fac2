// The token file: examples of a task as token ids with label spans, written by scripts/prepare_task.py and read by
// mapping, so that nothing is copied and what is not used is not read.
//
// A file is, little-endian:
//   file      := "ZO2TOKEN" version:u32 reserved:u32 examples:u64 sequences:u64 rights:u64 tokens:u64
//                example[examples + 1]  sequence[sequences + 1]  right:u32[rights]  token:i32[tokens]
//   example   := first_sequence:u32 first_right:u32         the last one: sequences, rights
//   sequence  := first_token:u64 label_begin:u32 label_end:u32   the last one: tokens, 0, 0
// with version 1 and reserved 0. Sequence s holds tokens [first_token of s, first_token of s + 1); its labels are its
// own tokens [label_begin, label_end), counted from its start. What the sequences of an example are, the kind of the
// task says (task/task.h). `right` counts the right ones among them, ascending, from 0 in each example.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

#include "store/mapped_file.h"
#include "task/sequences.h"

namespace zo2 {

// Immutable; copies share the mapping. The file must not be truncated by others meanwhile.
class TokenFile {
 public:
  // Checks every number in the file: throws UsageError naming the file, the example or sequence and the value when it
  // is no token file, is cut short, has an example without a sequence or a right one, a span outside of its sequence,
  // or an id outside of [0, vocab_size); IoError when it cannot be read.
  static TokenFile open(const std::filesystem::path& path, int64_t vocab_size);

  int64_t examples() const { return static_cast<int64_t>(examples_.size()) - 1; }
  int64_t sequences() const { return static_cast<int64_t>(sequences_.size()) - 1; }
  int64_t tokens() const { return static_cast<int64_t>(tokens_.size()); }
  int64_t longest() const { return longest_; }          // tokens of the longest sequence
  int64_t most_labels() const { return most_labels_; }  // labelled tokens of the sequence that has most of them

  // The sequences of an example are [first_sequence(example), first_sequence(example + 1)).
  int64_t first_sequence(int64_t example) const { return examples_[static_cast<size_t>(example)].first_sequence; }
  std::span<const uint32_t> right(int64_t example) const;  // at least one
  SequenceView sequence(int64_t index) const;              // valid while this file, or a copy of it, lives

 private:
  struct Example {
    uint32_t first_sequence, first_right;
  };
  struct SequenceEntry {
    uint64_t first_token;
    uint32_t label_begin, label_end;
  };

  void check_examples() const;
  void check_sequences(int64_t vocab_size);

  std::shared_ptr<const MappedFile> file_;
  std::span<const Example> examples_;
  std::span<const SequenceEntry> sequences_;
  std::span<const uint32_t> rights_;
  std::span<const int32_t> tokens_;
  int64_t longest_ = 0;
  int64_t most_labels_ = 0;
};

}  // namespace zo2

// What the tests of tasks share: token files and task folders written by hand, after the grammars in token_file.h and
// task.h.
#pragma once

#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/sha256.h"
#include "support.h"

namespace zo2::testing {

namespace fs = std::filesystem;

struct RawSequence {
  std::vector<int32_t> ids;
  uint32_t label_begin = 0, label_end = 0;
};

struct RawExample {
  std::vector<RawSequence> sequences;
  std::vector<uint32_t> right;
};

template <typename T>
void append(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

inline std::string token_file_bytes(const std::vector<RawExample>& examples) {
  std::string example_table, sequence_table, rights, tokens;
  uint32_t sequence_count = 0, right_count = 0;
  uint64_t token_count = 0;
  for (const RawExample& example : examples) {
    append(example_table, sequence_count);
    append(example_table, right_count);
    for (const RawSequence& sequence : example.sequences) {
      append(sequence_table, token_count);
      append(sequence_table, sequence.label_begin);
      append(sequence_table, sequence.label_end);
      for (int32_t id : sequence.ids) append(tokens, id);
      token_count += sequence.ids.size();
    }
    for (uint32_t right : example.right) append(rights, right);
    sequence_count += static_cast<uint32_t>(example.sequences.size());
    right_count += static_cast<uint32_t>(example.right.size());
  }
  append(example_table, sequence_count);
  append(example_table, right_count);
  append(sequence_table, token_count);
  append(sequence_table, uint64_t{0});
  std::string bytes = "ZO2TOKEN";
  append(bytes, uint32_t{1});
  append(bytes, uint32_t{0});
  append(bytes, static_cast<uint64_t>(examples.size()));
  append(bytes, uint64_t{sequence_count});
  append(bytes, uint64_t{right_count});
  append(bytes, token_count);
  return bytes + example_table + sequence_table + rights + tokens;
}

// Two examples: two candidates with a common prompt [2, 5, 6], the second one right; three with [2, 7], the first and
// the last right.
inline std::vector<RawExample> small_examples() {
  return {{{{{2, 5, 6, 8}, 3, 4}, {{2, 5, 6, 9, 10}, 3, 5}}, {1}},
          {{{{2, 7, 1}, 2, 3}, {{2, 7, 3, 3, 4, 4}, 2, 6}, {{2, 7, 11}, 2, 3}}, {0, 2}}};
}

// task.json and eval.tokens of a candidates task with a vocabulary of 12, and what a generation task has beside it.
inline Json write_small_task(const TempFolder& folder, const std::vector<RawExample>& examples) {
  const std::string bytes = token_file_bytes(examples);
  folder.write("eval.tokens", bytes);
  int64_t sequences = 0, tokens = 0, longest = 0;
  for (const RawExample& example : examples) {
    for (const RawSequence& sequence : example.sequences) {
      const auto length = static_cast<int64_t>(sequence.ids.size());
      ++sequences;
      tokens += length;
      longest = std::max(longest, length);
    }
  }
  std::string vocabulary;  // id i spells " i"
  for (int id = 0; id < 12; ++id) {
    vocabulary += "20";
    for (char digit : std::to_string(id)) vocabulary += std::string("3") + digit;
    vocabulary += "\n";
  }
  folder.write("vocabulary.txt", vocabulary);
  Json rows = {4, 1};
  Json split{{"from", "validation"},
             {"tokens_sha256", sha256_hex(bytes)},
             {"examples", examples.size()},
             {"sequences", sequences},
             {"tokens", tokens},
             {"longest", longest},
             {"truncated", 0},
             {"rows", rows},
             {"rows_sha256", sha256_hex("4,1")}};
  Json manifest{{"format", 1},
                {"task", "small"},
                {"kind", "candidates"},
                {"metric", "accuracy"},
                {"tokenizer", {{"sha256", std::string(64, '0')}, {"vocab_size", 12}}},
                {"generation", {{"new_tokens", 4}, {"ends", {3, 2}}, {"vocabulary_sha256", sha256_hex(vocabulary)}}},
                {"inputs", {{"validation", {{"file", "dev.tsv"}, {"sha256", std::string(64, '1')}, {"rows", 5}}}}},
                {"splits", {{"eval", split}}}};
  folder.write("task.json", manifest.dump());
  return manifest;
}

}  // namespace zo2::testing

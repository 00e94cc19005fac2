// A prepared task: the folder that scripts/prepare_task.py writes.
//
//   task.json             the manifest, below
//   SPLIT.tokens          a token file (task/token_file.h); splits are train, dev and eval, each there or not
//   SPLIT.answers.jsonl   generation only: a line an example, a list of the answers that count as right
//   vocabulary.txt        generation only: from ids to text (task/vocabulary.h)
//
// The manifest is an object with
//   format        1
//   task          "SST2"
//   kind          candidates | generation | text; what the sequences of an example are:
//     candidates    one for each candidate, in the template's order; labels are the candidate's tokens
//     generation    two: the prompt with its first answer, whose tokens are the labels; and the prompt alone, with no
//                   labels, where generation goes on
//     text          one; labels are the completion's tokens, or all but the first
//   metric        accuracy | f1 | loss
//   objective     candidates | lm: what the protocol trains on
//   template      {file, sha256}
//   tokenizer     {sha256, vocab_size}: of tokenizer.json, or of vocab.json and merges.txt together
//   first_token   {bos: mezo | tokenizer, id}: the id that every sequence starts with; null when there is none
//   data_seed, max_length, demonstrations (in-context examples before each of eval)
//   generation    {new_tokens, ends, vocabulary_sha256}, generation only: after how many tokens at most, and after
//   which
//                 ids, an answer ends
//   rules         {name: version} of the rules that made this from the published files
//   inputs        {train | validation: {file, sha256, rows}}
//   splits        {name: {from, tokens_sha256, answers_sha256?, examples, sequences, tokens, longest, truncated, rows,
//                 rows_sha256}}: `rows` are numbers of rows of input `from`, `truncated` the sequences that lost
//                 tokens; rows_sha256 is of the rows in decimal with commas between
#pragma once

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "model/config.h"
#include "task/generation.h"
#include "task/token_file.h"
#include "task/vocabulary.h"

namespace zo2 {

enum class TaskKind : uint8_t { candidates, generation, text };

struct TaskSplit {
  TokenFile file;
  std::vector<int64_t> rows;                      // of the published file; a long text makes several examples
  std::vector<std::vector<std::string>> answers;  // [examples] for generation, else empty
};

struct Task {
  std::string name;
  TaskKind kind = TaskKind::candidates;
  int64_t vocab_size = 0;  // of the tokenizer
  Json manifest;           // all of it, for records
  std::map<std::string, TaskSplit> splits;
  GenerationRule generation;  // generation only, as its vocabulary
  Vocabulary vocabulary;

  // Throws UsageError naming the splits that there are.
  const TaskSplit& split(const std::string& split_name) const;
};

// The prompts of a generation task's examples, valid while the file lives.
std::vector<std::span<const int32_t>> prompts_of(const TokenFile& file);

// Throws UsageError when the task's ids, or `file`'s sequences and what is generated after them, are more than the
// model has.
void check_fits(const Task& task, const TokenFile& file, const ModelConfig& model);

// Checks everything that the manifest claims against the files: throws UsageError naming file, key and both values, or
// IoError when a file cannot be read.
Task open_task(const std::filesystem::path& folder);

}  // namespace zo2

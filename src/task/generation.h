// Greedy generation, by passes that each give every sequence of a batch its next token (Executor::next_tokens).
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "runtime/executor.h"

namespace zo2 {

// Where a sequence ends.
struct GenerationRule {
  int64_t new_tokens = 0;     // at most; at least 1
  std::vector<int32_t> ends;  // after one of these ids, which is part of it
};

int64_t longest_of(const std::vector<std::span<const int32_t>>& prompts);  // in tokens

// Room for continuing prompts of at most `longest` tokens, `batch` at a time. Without a cache the plan's prompts hold
// what is generated too.
GenerationShape generation_shape(int64_t batch, int64_t longest, const GenerationRule& rule, bool cached = true);

struct Generated {
  std::vector<std::vector<int32_t>> ids;  // [prompts] the new tokens of each
  int64_t passes = 0;                     // over the weights
};

// Continues every prompt, in batches of executor.generation_batch() prompts of like length: the first pass of a batch
// reads the prompts and fills the cache, every other one reads one token a sequence. A batch is done when all of its
// sequences have ended; what is computed for those that ended earlier counts for nothing. `cached` false reads
// everything again for every token. The tokens of a prompt do not depend on those beside it but for the rounding of
// matrix products of other shapes, which can decide between logits that are as good as equal. `on_batch` hears how many
// prompts are done. Throws UsageError for prompts or rules that the executor's plan has no room for.
Generated generate(Executor& executor, const std::vector<std::span<const int32_t>>& prompts, const GenerationRule& rule,
                   bool cached = true, const std::function<void(int64_t done)>& on_batch = nullptr);

}  // namespace zo2

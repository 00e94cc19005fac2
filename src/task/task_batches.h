// Batches out of token files: for training by either objective of the protocol, and whole examples with all of their
// candidates.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "task/sequences.h"
#include "task/token_file.h"

namespace zo2 {

// Whole examples: every candidate of each is a sequence of the batch.
struct CandidateBatch {
  Batch batch;
  std::vector<int32_t> first_sequence;  // [examples + 1]: example e has sequences [first_sequence[e], ...[e + 1])
  std::vector<int32_t> right;           // [examples]: the first right one of each, counted from its first sequence
};

// Right-padded to the longest candidate. For a training step over candidates, `examples` are those of
// shuffled_examples. Throws UsageError when there are none.
CandidateBatch candidate_batch(const TokenFile& file, std::span<const int64_t> examples);

// The first right sequence of each example, in the order of shuffled_examples: language modelling on the right
// candidate, the first answer, or a text.
std::unique_ptr<BatchSource> right_sequences(const TokenFile& file, int64_t batch, int passes, uint64_t order_seed);

}  // namespace zo2

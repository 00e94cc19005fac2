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

// Whole examples: every candidate of each is a sequence of the batch, right-padded to the longest; the first right one
// is the answer. Throws UsageError when there are none.
Batch candidate_batch(const TokenFile& file, std::span<const int64_t> examples);

// Whole examples in the order of shuffled_examples, `batch` of them a pass: for losses over candidates.
std::unique_ptr<BatchSource> candidate_examples(const TokenFile& file, int64_t batch, int passes, uint64_t order_seed);

// The first right sequence of each example, in the order of shuffled_examples: language modelling on the right
// candidate, the first answer, or a text.
std::unique_ptr<BatchSource> right_sequences(const TokenFile& file, int64_t batch, int passes, uint64_t order_seed);

}  // namespace zo2

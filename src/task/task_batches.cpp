#include "task/task_batches.h"

namespace zo2 {

CandidateBatch candidate_batch(const TokenFile& file, std::span<const int64_t> examples) {
  CandidateBatch result;
  std::vector<SequenceView> sequences;
  for (int64_t example : examples) {
    result.first_sequence.push_back(static_cast<int32_t>(sequences.size()));
    result.right.push_back(static_cast<int32_t>(file.right(example).front()));
    for (int64_t i = file.first_sequence(example); i < file.first_sequence(example + 1); ++i) {
      sequences.push_back(file.sequence(i));
    }
  }
  result.first_sequence.push_back(static_cast<int32_t>(sequences.size()));
  result.batch = make_batch(sequences);
  return result;
}

std::unique_ptr<BatchSource> right_sequences(const TokenFile& file, int64_t batch, int passes, uint64_t order_seed) {
  std::vector<SequenceView> sequences;
  for (int64_t example = 0; example < file.examples(); ++example) {
    sequences.push_back(file.sequence(file.first_sequence(example) + file.right(example).front()));
  }
  return shuffled_sequences(std::move(sequences), std::make_shared<TokenFile>(file), batch, passes, order_seed);
}

}  // namespace zo2

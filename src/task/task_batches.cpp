#include "task/task_batches.h"

#include <algorithm>

namespace zo2 {

namespace {

class CandidateExamples final : public BatchSource {
 public:
  CandidateExamples(const TokenFile& file, int64_t batch, int passes, uint64_t seed)
      : file_(file), batch_(batch), passes_(passes), seed_(seed) {}

  Batch batch(int64_t step, int pass) const override {
    return candidate_batch(file_, shuffled_examples(file_.examples(), batch_, step * passes_ + pass, seed_));
  }
  int64_t batch_size() const override {
    int64_t most = 0;
    for (int64_t example = 0; example < file_.examples(); ++example) {
      most = std::max(most, file_.first_sequence(example + 1) - file_.first_sequence(example));
    }
    return most * std::min(batch_, file_.examples());
  }
  int64_t longest() const override { return file_.longest(); }
  int64_t labels() const override { return batch_size() * file_.most_labels(); }

 private:
  TokenFile file_;
  int64_t batch_;
  int passes_;
  uint64_t seed_;
};

}  // namespace

Batch candidate_batch(const TokenFile& file, std::span<const int64_t> examples) {
  std::vector<SequenceView> sequences;
  std::vector<int32_t> example_ends;
  std::vector<int32_t> answers;
  for (int64_t example : examples) {
    for (int64_t i = file.first_sequence(example); i < file.first_sequence(example + 1); ++i) {
      sequences.push_back(file.sequence(i));
    }
    example_ends.push_back(static_cast<int32_t>(sequences.size()));
    answers.push_back(static_cast<int32_t>(file.right(example).front()));
  }
  Batch batch = make_batch(sequences);
  batch.example_ends = std::move(example_ends);
  batch.answers = std::move(answers);
  batch.sequence_ends.resize(sequences.size());
  // Rows are in the order of their sequences; a sequence without any ends where the one before it does.
  size_t row = 0;
  for (size_t i = 0; i < sequences.size(); ++i) {
    const int64_t end = static_cast<int64_t>(i + 1) * batch.seq;
    while (row < batch.rows.size() && batch.rows[row] < end) ++row;
    batch.sequence_ends[i] = static_cast<int32_t>(row);
  }
  return batch;
}

std::unique_ptr<BatchSource> candidate_examples(const TokenFile& file, int64_t batch, int passes, uint64_t order_seed) {
  return std::make_unique<CandidateExamples>(file, batch, passes, order_seed);
}

std::unique_ptr<BatchSource> right_sequences(const TokenFile& file, int64_t batch, int passes, uint64_t order_seed) {
  std::vector<SequenceView> sequences;
  for (int64_t example = 0; example < file.examples(); ++example) {
    sequences.push_back(file.sequence(file.first_sequence(example) + file.right(example).front()));
  }
  return shuffled_sequences(std::move(sequences), std::make_shared<TokenFile>(file), batch, passes, order_seed);
}

}  // namespace zo2

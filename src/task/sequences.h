// Token sequences with labels, and the batches that training reads: pure functions of the step.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "runtime/executor.h"

namespace zo2 {

inline constexpr int32_t kIgnored = -100;  // as Hugging Face has it: no label here

// A sequence where it lies, without a copy.
struct SequenceView {
  std::span<const int32_t> input_ids;
  std::span<const int32_t> labels;  // of positions label_begin, label_begin + 1, ...; kIgnored is skipped
  int64_t label_begin = 0;
};

struct Sequence {
  std::vector<int32_t> input_ids;
  std::vector<int32_t> labels;  // same length; labels[i] is predicted from position i - 1; kIgnored is skipped

  operator SequenceView() const { return {input_ids, labels, 0}; }
};

// Labelled tokens of the sequence that has most of them.
int64_t most_labels(std::span<const SequenceView> sequences);

// One JSON object a line: {"input_ids": [...], "labels": [...]}, labels optional (default: the input itself). Throws
// UsageError naming the file and the line, IoError when it cannot be read.
std::vector<Sequence> read_sequences(const std::filesystem::path& path);

// The same file where only input_ids count: prompts to be continued, of one token or more.
std::vector<std::vector<int32_t>> read_prompts(const std::filesystem::path& path);

// Right-padded to the longest. Throws UsageError when it is empty.
Batch make_batch(const std::vector<SequenceView>& sequences);

// Which of `count` examples batch number `index` of training has, counted from 0 across epochs: a fresh order each
// epoch, the last, short batch of an epoch kept. A function of the seed, the same on every platform.
std::vector<int64_t> shuffled_examples(int64_t count, int64_t batch, int64_t index, uint64_t seed);

// Batches for training. Every step and pass has its own, the same whenever it is asked for.
class BatchSource {
 public:
  virtual ~BatchSource() = default;
  virtual Batch batch(int64_t step, int pass) const = 0;
  virtual int64_t batch_size() const = 0;
  virtual int64_t longest() const = 0;  // tokens of the longest sequence
  virtual int64_t labels() const = 0;   // labelled tokens of a batch, at most
};

// Uniform token ids from the noise function: for measuring speed and memory, synthetic by intent.
std::unique_ptr<BatchSource> random_tokens(int64_t vocab_size, int64_t batch, int64_t seq, uint64_t seed);

// The sequences in the order of shuffled_examples; with several passes a step, `passes` batches a step. `owner` keeps
// what the views show alive.
std::unique_ptr<BatchSource> shuffled_sequences(std::vector<SequenceView> sequences, std::shared_ptr<const void> owner,
                                                int64_t batch, int passes, uint64_t seed);
std::unique_ptr<BatchSource> shuffled_sequences(std::vector<Sequence> sequences, int64_t batch, int passes,
                                                uint64_t seed);

}  // namespace zo2

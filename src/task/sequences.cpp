#include "task/sequences.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <numeric>

#include "base/error.h"
#include "base/json.h"
#include "noise/noise.h"

namespace zo2 {
namespace {

// Streams of the noise function under the data's seed, beside the seed sequence's 0.
constexpr uint32_t kTokenStream = 1;
constexpr uint32_t kOrderStream = 2;

class RandomTokens final : public BatchSource {
 public:
  RandomTokens(int64_t vocab_size, int64_t batch, int64_t seq, uint64_t seed)
      : vocab_size_(vocab_size), batch_(batch), seq_(seq), seed_(seed) {}

  Batch batch(int64_t step, int pass) const override {
    std::vector<Sequence> sequences(static_cast<size_t>(batch_));
    std::vector<uint32_t> bits(static_cast<size_t>(seq_));
    for (int64_t i = 0; i < batch_; ++i) {
      fill_bits({seed_, Purpose::seed_sequence, static_cast<uint32_t>(pass), kTokenStream, static_cast<uint32_t>(step)},
                i * seq_, bits);
      for (uint32_t word : bits) {
        sequences[i].input_ids.push_back(
            static_cast<int32_t>((uint64_t{word} * static_cast<uint64_t>(vocab_size_)) >> 32));
      }
      sequences[i].labels = sequences[i].input_ids;
    }
    return make_batch({sequences.begin(), sequences.end()});
  }
  int64_t batch_size() const override { return batch_; }
  int64_t longest() const override { return seq_; }
  int64_t labels() const override { return batch_ * seq_; }

 private:
  int64_t vocab_size_, batch_, seq_;
  uint64_t seed_;
};

class ShuffledSequences final : public BatchSource {
 public:
  ShuffledSequences(std::vector<SequenceView> sequences, std::shared_ptr<const void> owner, int64_t batch, int passes,
                    uint64_t seed)
      : sequences_(std::move(sequences)), owner_(std::move(owner)), batch_(batch), passes_(passes), seed_(seed) {
    ZO2_CHECK(!sequences_.empty(), UsageError, "the training data has no sequences");
  }

  Batch batch(int64_t step, int pass) const override {
    const auto count = static_cast<int64_t>(sequences_.size());
    std::vector<SequenceView> chosen;
    for (int64_t i : shuffled_examples(count, batch_, step * passes_ + pass, seed_)) {
      chosen.push_back(sequences_[static_cast<size_t>(i)]);
    }
    return make_batch(chosen);
  }
  int64_t batch_size() const override { return batch_; }
  int64_t longest() const override {
    size_t longest = 0;
    for (const SequenceView& sequence : sequences_) longest = std::max(longest, sequence.input_ids.size());
    return static_cast<int64_t>(longest);
  }
  int64_t labels() const override { return batch_ * most_labels(sequences_); }

 private:
  std::vector<SequenceView> sequences_;
  std::shared_ptr<const void> owner_;
  int64_t batch_;
  int passes_;
  uint64_t seed_;
};

// Fisher-Yates with words of the noise function: the same on every platform.
std::vector<int64_t> permutation(int64_t count, uint32_t epoch, uint64_t seed) {
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  std::vector<uint32_t> bits(order.size());
  fill_bits({seed, Purpose::seed_sequence, 0, kOrderStream, epoch}, 0, bits);
  for (size_t i = order.size(); i > 1; --i) {
    std::swap(order[i - 1], order[static_cast<size_t>((uint64_t{bits[i - 1]} * i) >> 32)]);
  }
  return order;
}

std::vector<int32_t> integers(const Json& object, const char* key, const std::string& where) {
  const auto found = object.find(key);
  ZO2_CHECK(found != object.end() && found->is_array(), UsageError, "{}: '{}' must be a list of integers", where, key);
  std::vector<int32_t> values;
  for (const Json& value : *found) {
    const bool fits = value.is_number_unsigned() ? value.get<uint64_t>() <= INT32_MAX
                                                 : value.is_number_integer() && value.get<int64_t>() >= INT32_MIN;
    ZO2_CHECK(fits, UsageError, "{}: '{}' holds {}, which is no token id", where, key, value.dump());
    values.push_back(value.get<int32_t>());
  }
  return values;
}

// Calls take(object, its input_ids, where it is) for each line of a file of JSON objects.
template <typename Take>
void for_each_line(const std::filesystem::path& path, const Take& take) {
  std::ifstream stream(path);
  ZO2_CHECK(stream, IoError, "cannot read {}: {}", path.string(), std::strerror(errno));
  std::string line;
  for (int number = 1; std::getline(stream, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string where = fmt::format("{}:{}", path.string(), number);
    Json object;
    try {
      object = Json::parse(line);
    } catch (const Json::exception& error) {  // a number such as 1e999 is no parse_error
      throw UsageError(fmt::format("{}: not valid JSON: {}", where, error.what()));
    }
    ZO2_CHECK(object.is_object(), UsageError, "{}: expected an object with input_ids", where);
    std::vector<int32_t> input_ids = integers(object, "input_ids", where);
    ZO2_CHECK(!input_ids.empty(), UsageError, "{}: input_ids is empty", where);
    take(object, std::move(input_ids), where);
  }
}

}  // namespace

int64_t most_labels(std::span<const SequenceView> sequences) {
  std::ptrdiff_t most = 0;
  for (const SequenceView& sequence : sequences) {
    const auto skipped = std::ranges::count(sequence.labels, kIgnored);
    most = std::max(most, std::ssize(sequence.labels) - skipped);
  }
  return most;
}

std::vector<Sequence> read_sequences(const std::filesystem::path& path) {
  std::vector<Sequence> sequences;
  for_each_line(path, [&](const Json& object, std::vector<int32_t> input_ids, const std::string& where) {
    Sequence sequence;
    sequence.labels = object.contains("labels") ? integers(object, "labels", where) : input_ids;
    sequence.input_ids = std::move(input_ids);
    ZO2_CHECK(sequence.labels.size() == sequence.input_ids.size(), UsageError, "{}: {} labels for {} input_ids", where,
              sequence.labels.size(), sequence.input_ids.size());
    // The first label has no position to be predicted from.
    const bool any =
        std::any_of(sequence.labels.begin() + 1, sequence.labels.end(), [](int32_t id) { return id != kIgnored; });
    ZO2_CHECK(any, UsageError, "{}: no label to predict: every label but the first is ignored ({})", where, kIgnored);
    sequences.push_back(std::move(sequence));
  });
  return sequences;
}

std::vector<std::vector<int32_t>> read_prompts(const std::filesystem::path& path) {
  std::vector<std::vector<int32_t>> prompts;
  for_each_line(path, [&](const Json& /*object*/, std::vector<int32_t> input_ids, const std::string& /*where*/) {
    prompts.push_back(std::move(input_ids));
  });
  return prompts;
}

Batch make_batch(const std::vector<SequenceView>& sequences) {
  ZO2_CHECK(!sequences.empty(), UsageError, "the batch is empty");
  Batch batch;
  batch.batch = static_cast<int64_t>(sequences.size());
  for (const SequenceView& sequence : sequences) {
    batch.seq = std::max(batch.seq, static_cast<int64_t>(sequence.input_ids.size()));
  }
  batch.tokens.assign(static_cast<size_t>(batch.batch * batch.seq), 0);  // padding: real tokens never see it
  for (int64_t row = 0; row < batch.batch; ++row) {
    const SequenceView& sequence = sequences[static_cast<size_t>(row)];
    std::copy(sequence.input_ids.begin(), sequence.input_ids.end(), batch.tokens.begin() + row * batch.seq);
    batch.real_tokens += static_cast<int64_t>(sequence.input_ids.size());
    for (size_t i = 0; i < sequence.labels.size(); ++i) {
      const int64_t position = sequence.label_begin + static_cast<int64_t>(i);
      if (position == 0 || sequence.labels[i] == kIgnored) continue;
      batch.rows.push_back(static_cast<int32_t>(row * batch.seq + position - 1));
      batch.targets.push_back(sequence.labels[i]);
    }
  }
  return batch;
}

std::vector<int64_t> shuffled_examples(int64_t count, int64_t batch, int64_t index, uint64_t seed) {
  const int64_t batches = (count + batch - 1) / batch;
  const std::vector<int64_t> order = permutation(count, static_cast<uint32_t>(index / batches), seed);
  const int64_t first = index % batches * batch;
  return {order.begin() + first, order.begin() + std::min(count, first + batch)};
}

std::unique_ptr<BatchSource> random_tokens(int64_t vocab_size, int64_t batch, int64_t seq, uint64_t seed) {
  ZO2_CHECK(seq >= 2, UsageError, "a sequence of {} tokens has nothing to predict; at least 2", seq);
  return std::make_unique<RandomTokens>(vocab_size, batch, seq, seed);
}

std::unique_ptr<BatchSource> shuffled_sequences(std::vector<SequenceView> sequences, std::shared_ptr<const void> owner,
                                                int64_t batch, int passes, uint64_t seed) {
  return std::make_unique<ShuffledSequences>(std::move(sequences), std::move(owner), batch, passes, seed);
}

std::unique_ptr<BatchSource> shuffled_sequences(std::vector<Sequence> sequences, int64_t batch, int passes,
                                                uint64_t seed) {
  const auto owner = std::make_shared<const std::vector<Sequence>>(std::move(sequences));
  return shuffled_sequences(std::vector<SequenceView>(owner->begin(), owner->end()), owner, batch, passes, seed);
}

}  // namespace zo2

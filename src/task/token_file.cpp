#include "task/token_file.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/error.h"

namespace zo2 {
namespace {

static_assert(std::endian::native == std::endian::little, "token files are read as they lie in memory");

constexpr std::string_view kMagic = "ZO2TOKEN";
constexpr uint32_t kVersion = 1;

struct Header {
  char magic[8];
  uint32_t version, reserved;
  uint64_t examples, sequences, rights, tokens;
};
static_assert(sizeof(Header) == 48);

// The next `count` elements of a mapped file. Sections follow each other without padding, and each starts at a multiple
// of its elements' alignment, since the sizes before it are.
template <typename T>
std::span<const T> take(std::span<const std::byte>& rest, uint64_t count) {
  const size_t bytes = static_cast<size_t>(count) * sizeof(T);
  const std::span<const T> section(reinterpret_cast<const T*>(rest.data()), static_cast<size_t>(count));
  rest = rest.subspan(bytes);
  return section;
}

}  // namespace

TokenFile TokenFile::open(const std::filesystem::path& path, int64_t vocab_size) {
  TokenFile file;
  file.file_ = std::make_shared<MappedFile>(path);
  std::span<const std::byte> rest = file.file_->bytes();
  const size_t size = rest.size();
  ZO2_CHECK(size >= sizeof(Header), UsageError, "{}: {} bytes are less than the header of a token file", path.string(),
            size);
  const Header& header = take<Header>(rest, 1).front();
  ZO2_CHECK(std::string_view(header.magic, sizeof(header.magic)) == kMagic, UsageError,
            "{}: not a token file (write one with scripts/prepare_task.py)", path.string());
  ZO2_CHECK(header.version == kVersion && header.reserved == 0, UsageError,
            "{}: token file of version {}, this program reads {}: prepare the task again", path.string(),
            header.version, kVersion);
  for (uint64_t count : {header.examples, header.sequences, header.rights, header.tokens}) {
    // So that the sum below cannot overflow.
    ZO2_CHECK(count <= size, UsageError, "{}: a count of {} in {} bytes: the header is damaged", path.string(), count,
              size);
  }
  const uint64_t expected = sizeof(Header) + (header.examples + 1) * sizeof(Example) +
                            (header.sequences + 1) * sizeof(SequenceEntry) + header.rights * sizeof(uint32_t) +
                            header.tokens * sizeof(int32_t);
  ZO2_CHECK(expected == size, UsageError, "{}: {} bytes, but its header says {}: the file is {}", path.string(), size,
            expected, size < expected ? "cut short" : "longer than it should be");
  file.examples_ = take<Example>(rest, header.examples + 1);
  file.sequences_ = take<SequenceEntry>(rest, header.sequences + 1);
  file.rights_ = take<uint32_t>(rest, header.rights);
  file.tokens_ = take<int32_t>(rest, header.tokens);
  file.check_examples();
  file.check_sequences(vocab_size);
  return file;
}

void TokenFile::check_examples() const {
  const std::string path = file_->path().string();
  const Example& end = examples_.back();
  ZO2_CHECK(examples_.front().first_sequence == 0 && examples_.front().first_right == 0 &&
                end.first_sequence == static_cast<uint64_t>(sequences()) && end.first_right == rights_.size(),
            UsageError, "{}: the table of examples does not cover the sequences", path);
  for (int64_t i = 0; i < examples(); ++i) {
    const Example& example = examples_[static_cast<size_t>(i)];
    const Example& next = examples_[static_cast<size_t>(i) + 1];
    ZO2_CHECK(example.first_sequence < next.first_sequence && next.first_sequence <= end.first_sequence, UsageError,
              "{}: example {} has sequences [{}, {}) of {}", path, i, example.first_sequence, next.first_sequence,
              end.first_sequence);
    ZO2_CHECK(example.first_right < next.first_right && next.first_right <= end.first_right, UsageError,
              "{}: example {} has right ones [{}, {}) of {}", path, i, example.first_right, next.first_right,
              end.first_right);
    int64_t before = -1;
    for (uint32_t index : right(i)) {
      ZO2_CHECK(index > before && index < next.first_sequence - example.first_sequence, UsageError,
                "{}: example {}: sequence {} of {} cannot be right (they ascend from 0)", path, i, index,
                next.first_sequence - example.first_sequence);
      before = index;
    }
  }
}

void TokenFile::check_sequences(int64_t vocab_size) {
  const std::string path = file_->path().string();
  ZO2_CHECK(sequences_.front().first_token == 0 && sequences_.back().first_token == tokens_.size(), UsageError,
            "{}: the table of sequences does not cover the tokens", path);
  for (int64_t i = 0; i < sequences(); ++i) {
    const SequenceEntry& entry = sequences_[static_cast<size_t>(i)];
    const uint64_t end = sequences_[static_cast<size_t>(i) + 1].first_token;
    ZO2_CHECK(entry.first_token < end && end <= tokens_.size(), UsageError, "{}: sequence {} has tokens [{}, {}) of {}",
              path, i, entry.first_token, end, tokens_.size());
    const uint64_t length = end - entry.first_token;
    // The first token has no position to be predicted from.
    ZO2_CHECK(entry.label_begin >= 1 && entry.label_begin <= entry.label_end && entry.label_end <= length, UsageError,
              "{}: sequence {}: labels [{}, {}) of {} tokens", path, i, entry.label_begin, entry.label_end, length);
    longest_ = std::max(longest_, static_cast<int64_t>(length));
    most_labels_ = std::max(most_labels_, int64_t{entry.label_end} - int64_t{entry.label_begin});
  }
  const auto bad = std::find_if(tokens_.begin(), tokens_.end(), [&](int32_t id) { return id < 0 || id >= vocab_size; });
  ZO2_CHECK(bad == tokens_.end(), UsageError, "{}: token {} is id {}, outside of the vocabulary of {}", path,
            bad - tokens_.begin(), *bad, vocab_size);
}

std::span<const uint32_t> TokenFile::right(int64_t example) const {
  const auto i = static_cast<size_t>(example);
  return rights_.subspan(examples_[i].first_right, examples_[i + 1].first_right - examples_[i].first_right);
}

SequenceView TokenFile::sequence(int64_t index) const {
  const SequenceEntry& entry = sequences_[static_cast<size_t>(index)];
  const uint64_t end = sequences_[static_cast<size_t>(index) + 1].first_token;
  const auto ids =
      tokens_.subspan(static_cast<size_t>(entry.first_token), static_cast<size_t>(end - entry.first_token));
  return {ids, ids.subspan(entry.label_begin, entry.label_end - entry.label_begin), entry.label_begin};
}

}  // namespace zo2

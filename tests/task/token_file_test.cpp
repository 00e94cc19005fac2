#include "task/token_file.h"

#include <cstring>

#include "base/error.h"
#include "task/testing.h"

namespace zo2 {
namespace {

using namespace zo2::testing;

constexpr int64_t kVocab = 12;

class TokenFiles : public ::testing::Test {
 protected:
  TokenFile open(const std::string& bytes) { return TokenFile::open(folder_.write("a.tokens", bytes), kVocab); }
  std::string refusal(const std::string& bytes) {
    return message_of<UsageError>([&] { open(bytes); });
  }
  std::string refusal(const std::vector<RawExample>& examples) { return refusal(token_file_bytes(examples)); }

  TempFolder folder_;
};

void expect_has(const std::string& message, const std::string& part) {
  EXPECT_NE(message.find(part), std::string::npos) << message;
}

TEST_F(TokenFiles, GivesBackWhatWasWritten) {
  const auto examples = small_examples();
  const TokenFile file = open(token_file_bytes(examples));
  int64_t most = 0;
  for (const RawExample& example : examples) {
    for (const RawSequence& own : example.sequences) most = std::max<int64_t>(most, own.label_end - own.label_begin);
  }
  ASSERT_EQ(file.examples(), 2);
  EXPECT_EQ(file.sequences(), 5);
  EXPECT_EQ(file.tokens(), 21);
  EXPECT_EQ(file.longest(), 6);
  EXPECT_EQ(file.most_labels(), most);
  for (size_t e = 0; e < examples.size(); ++e) {
    const auto right = file.right(static_cast<int64_t>(e));
    EXPECT_EQ(std::vector<uint32_t>(right.begin(), right.end()), examples[e].right);
    for (size_t s = 0; s < examples[e].sequences.size(); ++s) {
      const RawSequence& expected = examples[e].sequences[s];
      const SequenceView found = file.sequence(file.first_sequence(static_cast<int64_t>(e)) + static_cast<int64_t>(s));
      EXPECT_EQ(std::vector<int32_t>(found.input_ids.begin(), found.input_ids.end()), expected.ids);
      EXPECT_EQ(found.label_begin, expected.label_begin);
      EXPECT_EQ(
          std::vector<int32_t>(found.labels.begin(), found.labels.end()),
          std::vector<int32_t>(expected.ids.begin() + expected.label_begin, expected.ids.begin() + expected.label_end));
    }
  }
}

TEST_F(TokenFiles, TokensAreReadWhereTheyLie) {
  const TokenFile file = open(token_file_bytes(small_examples()));
  // One mapping: sequences follow each other without a gap.
  EXPECT_EQ(file.sequence(0).input_ids.data() + 4, file.sequence(1).input_ids.data());
  EXPECT_EQ(file.sequence(0).labels.data(), file.sequence(0).input_ids.data() + 3);
  const TokenFile copy = file;
  EXPECT_EQ(copy.sequence(4).input_ids.data(), file.sequence(4).input_ids.data());
}

TEST_F(TokenFiles, AnyCutAndAnyAdditionIsNoticed) {
  const std::string bytes = token_file_bytes(small_examples());
  for (size_t size = 0; size < bytes.size(); ++size) {
    expect_has(refusal(bytes.substr(0, size)), folder_.path().string());
  }
  expect_has(refusal(bytes.substr(0, bytes.size() - 4)), "cut short");
  expect_has(refusal(bytes + std::string(4, '\0')), "longer than it should be");
}

TEST_F(TokenFiles, OtherFilesAndVersionsAreNamed) {
  std::string bytes = token_file_bytes(small_examples());
  bytes[0] = 'X';
  expect_has(refusal(bytes), "not a token file");
  bytes = token_file_bytes(small_examples());
  bytes[8] = 2;
  expect_has(refusal(bytes), "version 2");
}

TEST_F(TokenFiles, ACountThatOverflowsIsRefused) {
  for (size_t offset : {16, 24, 32, 40}) {
    std::string bytes = token_file_bytes(small_examples());
    for (uint64_t count : {uint64_t{1} << 60, ~uint64_t{0}}) {
      std::memcpy(bytes.data() + offset, &count, sizeof(count));
      expect_has(refusal(bytes), "the header is damaged");
    }
  }
}

TEST_F(TokenFiles, LabelsStayInsideTheirSequenceAndBehindItsFirstToken) {
  for (const auto& [begin, end] : std::vector<std::pair<uint32_t, uint32_t>>{{0, 4}, {3, 5}, {4, 3}, {5, 5}}) {
    auto examples = small_examples();
    examples[0].sequences[0].label_begin = begin;
    examples[0].sequences[0].label_end = end;
    expect_has(refusal(examples), fmt::format("sequence 0: labels [{}, {}) of 4 tokens", begin, end));
  }
}

TEST_F(TokenFiles, IdsStayInsideTheVocabulary) {
  for (int32_t id : {-1, 12}) {
    auto examples = small_examples();
    examples[1].sequences[0].ids[1] = id;
    expect_has(refusal(examples), fmt::format("token 10 is id {}", id));
  }
}

TEST_F(TokenFiles, EveryExampleHasSequencesAndARightOneAmongThem) {
  auto examples = small_examples();
  examples[1].right = {3};
  expect_has(refusal(examples), "example 1: sequence 3 of 3 cannot be right");
  examples[1].right = {2, 0};
  expect_has(refusal(examples), "example 1: sequence 0 of 3 cannot be right");
  examples[1].right = {};
  expect_has(refusal(examples), "example 1 has right ones [1, 1)");
  examples = small_examples();
  examples[0].sequences.clear();
  expect_has(refusal(examples), "example 0 has sequences [0, 0)");
  examples = small_examples();
  examples[0].sequences[1].ids.clear();
  expect_has(refusal(examples), "sequence 1 has tokens [4, 4)");
}

TEST_F(TokenFiles, ADamagedTableNeverReadsOutsideOfTheFile) {
  const std::string bytes = token_file_bytes(small_examples());
  const size_t tables_end = 48 + 3 * 8 + 6 * 16 + 3 * 4;
  for (size_t offset = 16; offset < tables_end; ++offset) {
    for (char value : {'\x01', '\x7f', '\xff'}) {
      std::string damaged = bytes;
      damaged[offset] = static_cast<char>(damaged[offset] ^ value);
      try {  // some changes give another valid file; all that it hands out must then be inside of it
        const TokenFile file = open(damaged);
        int64_t sum = 0;
        for (int64_t i = 0; i < file.sequences(); ++i) {
          for (int32_t id : file.sequence(i).input_ids) sum += id;
          for (int32_t id : file.sequence(i).labels) sum += id;
        }
        EXPECT_GE(sum, 0);
      } catch (const UsageError& error) {
        expect_has(error.what(), folder_.path().string());
      }
    }
  }
}

}  // namespace
}  // namespace zo2

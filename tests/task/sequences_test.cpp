#include "task/sequences.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "support.h"

namespace zo2 {
namespace {

using testing::TempFolder;

std::string problem_of(const std::string& line) {
  const TempFolder scratch;
  try {
    read_sequences(scratch.write("in.jsonl", "{\"input_ids\": [1, 2]}\n" + line + "\n"));
  } catch (const UsageError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("in.jsonl:2: "), std::string::npos) << text;
    return text.substr(text.find("in.jsonl:2: ") + 12);
  }
  return "";
}

TEST(Sequences, LabelsAreTheIdsUnlessGivenAndBlankLinesAreNothing) {
  const TempFolder scratch;
  const std::vector<Sequence> sequences = read_sequences(scratch.write(
      "in.jsonl", "\n{\"input_ids\": [3, 4]}\n  \n{\"input_ids\": [5, 6, 7], \"labels\": [-100, -100, 7]}\n"));
  ASSERT_EQ(sequences.size(), 2u);
  EXPECT_EQ(sequences[0].labels, (std::vector<int32_t>{3, 4}));
  EXPECT_EQ(sequences[1].input_ids, (std::vector<int32_t>{5, 6, 7}));
  EXPECT_EQ(sequences[1].labels, (std::vector<int32_t>{-100, -100, 7}));
  EXPECT_EQ(shuffled_sequences(sequences, 3, 1, 1)->labels(), 6);  // as many times the two of the first
  EXPECT_EQ(shuffled_sequences({sequences[1]}, 3, 1, 1)->labels(), 3);
}

TEST(Sequences, WhatIsNoTokenIdIsNamedWithItsLine) {
  for (const char* id : {"2147483648", "-2147483649", "18446744073709551516", "1.5", "\"1\"", "null"}) {
    const std::string line = fmt::format("{{\"input_ids\": [1, {}]}}", id);
    EXPECT_EQ(problem_of(line), fmt::format("'input_ids' holds {}, which is no token id", id));
  }
  EXPECT_EQ(problem_of(R"({"input_ids": [1, 2], "labels": [1, 18446744073709551516]})"),
            "'labels' holds 18446744073709551516, which is no token id")
      << "not -100 by wrapping";
}

TEST(Sequences, OtherMistakesAreNamedWithTheirLine) {
  EXPECT_TRUE(problem_of("{\"input_ids\": [1,").starts_with("not valid JSON"));
  EXPECT_TRUE(problem_of("{\"input_ids\": [1e999, 2]}").starts_with("not valid JSON"));
  EXPECT_EQ(problem_of("[1, 2]"), "expected an object with input_ids");
  EXPECT_EQ(problem_of("{\"ids\": [1, 2]}"), "'input_ids' must be a list of integers");
  EXPECT_EQ(problem_of("{\"input_ids\": []}"), "input_ids is empty");
  EXPECT_EQ(problem_of(R"({"input_ids": [1, 2], "labels": [1]})"), "1 labels for 2 input_ids");
  EXPECT_TRUE(problem_of("{\"input_ids\": [1]}").starts_with("no label to predict"));
}

}  // namespace
}  // namespace zo2

#include "task/vocabulary.h"

#include "base/error.h"
#include "support.h"

namespace zo2 {
namespace {

using testing::message_of;
using testing::TempFolder;
using Ids = std::vector<int32_t>;

TEST(Vocabulary, IdsBecomeTheTextOfTheirBytes) {
  const TempFolder folder;
  // <s>, "He", "llo", line feed, " ", both halves of an e with an acute accent.
  const Vocabulary vocabulary = Vocabulary::open(folder.write("vocabulary.txt", "\n4865\n6c6c6f\n0a\n20\nc3\na9\n"), 7);
  EXPECT_EQ(vocabulary.text(Ids{0, 1, 2}), "Hello");
  EXPECT_EQ(vocabulary.text(Ids{1, 5, 6}), "He\u00e9");
  EXPECT_EQ(vocabulary.text(Ids{1, 5, 1}), "He\uFFFDHe");
  EXPECT_EQ(vocabulary.text(Ids{4, 4, 1, 2, 4, 1, 3, 0}), "Hello He");  // no white space outside
  EXPECT_EQ(vocabulary.text(Ids{1, 3, 2}), "He\nllo");
  EXPECT_EQ(vocabulary.text(Ids{3, 4}), "");
  EXPECT_EQ(vocabulary.text(Ids{}), "");
  EXPECT_EQ(vocabulary.text(Ids{1, 7, 9000, 2}), "Hello");  // a table can be padded beyond the tokenizer
}

// Right-hand sides are transformers' clean_up_tokenization.
TEST(Vocabulary, SpacesAreCleanedUpAsTransformersDoes) {
  const TempFolder folder;
  const auto cleaned = [&](const std::string& text) {
    std::string hex;
    for (unsigned char c : text) hex += fmt::format("{:02x}", c);
    return Vocabulary::open(folder.write("vocabulary.txt", hex + "\n"), 1).text(Ids{0});
  };
  EXPECT_EQ(cleaned("Yes , he did n't . Why ?"), "Yes, he didn't. Why?");
  EXPECT_EQ(cleaned("Bob 's dogs ' bowls , we 've , they 're , I 'm !"), "Bob's dogs'bowls, we've, they're, I'm!");
  EXPECT_EQ(cleaned("1 . . 2"), "1.. 2");
}

TEST(Vocabulary, WhatIsNoVocabularyIsRefused) {
  const TempFolder folder;
  const auto refusal = [&](const std::string& text) {
    return message_of<UsageError>([&] { Vocabulary::open(folder.write("vocabulary.txt", text), 2); });
  };
  EXPECT_NE(refusal("61\n6g\n").find("vocabulary.txt:2: not bytes in hexadecimal"), std::string::npos);
  EXPECT_NE(refusal("61\n616\n").find("vocabulary.txt:2"), std::string::npos);
  EXPECT_NE(refusal("61\n").find("1 lines for a vocabulary of 2"), std::string::npos);
  EXPECT_NE(message_of<IoError>([&] { Vocabulary::open(folder / "none", 2); }).find("cannot read"), std::string::npos);
}

}  // namespace
}  // namespace zo2

#include "base/utf8.h"

#include <gtest/gtest.h>

namespace zo2 {
namespace {

TEST(Utf8, ValidTextStaysAsItIs) {
  const std::string text = "a\u00e9\u20ac\U0001F600\uFFFD\u07FF\u0800\uD7FF\uE000\U0010FFFF";
  EXPECT_EQ(repaired_utf8(text), text);
  EXPECT_EQ(repaired_utf8(""), "");
  EXPECT_EQ(repaired_utf8(std::string(1, '\0')), std::string(1, '\0'));
}

// Right-hand sides are Python's bytes.decode("utf-8", errors="replace").
TEST(Utf8, WhatBeginsNoCharacterBecomesOneReplacementAsInPython) {
  EXPECT_EQ(repaired_utf8("x\xFFy"), "x\uFFFDy");
  EXPECT_EQ(repaired_utf8("\xE2\x82"), "\uFFFD");
  EXPECT_EQ(repaired_utf8("\xE2\x82x"), "\uFFFDx");
  EXPECT_EQ(repaired_utf8("\xF0\x9F\x98 \xF0\x9F"), "\uFFFD \uFFFD");
  EXPECT_EQ(repaired_utf8("\x80\x80"), "\uFFFD\uFFFD");
  EXPECT_EQ(repaired_utf8("\xC0\xAF"), "\uFFFD\uFFFD");                      // overlong
  EXPECT_EQ(repaired_utf8("\xE0\x80\x80"), "\uFFFD\uFFFD\uFFFD");            // overlong
  EXPECT_EQ(repaired_utf8("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");            // a surrogate
  EXPECT_EQ(repaired_utf8("\xF4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD");  // beyond U+10FFFF
  EXPECT_EQ(repaired_utf8("\xE2\xE2\x82\xAC"), "\uFFFD\u20ac");
}

}  // namespace
}  // namespace zo2

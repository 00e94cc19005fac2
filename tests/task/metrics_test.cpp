#include "task/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace zo2 {
namespace {

using Answers = std::vector<std::string>;

TEST(Metrics, ProportionsCarryTheBinomialStandardError) {
  const Proportion wsc{66, 104};
  EXPECT_DOUBLE_EQ(wsc.value(), 66.0 / 104);
  EXPECT_NEAR(wsc.standard_error(), 0.0472, 5e-5);  // 4.7 points
  EXPECT_EQ((Proportion{5, 5}).standard_error(), 0);
  EXPECT_TRUE(std::isnan(Proportion{}.value()));
}

TEST(Metrics, MeansCarryTheStandardErrorOfTheSample) {
  Mean mean;
  EXPECT_TRUE(std::isnan(mean.value()));
  mean.add(0.5);
  EXPECT_EQ(mean.value(), 0.5);
  EXPECT_TRUE(std::isnan(mean.standard_error()));
  for (double score : {1.0, 0.0, 0.25}) mean.add(score);
  EXPECT_DOUBLE_EQ(mean.value(), 1.75 / 4);
  // Deviations 0.0625, 0.5625, -0.4375, -0.1875: squares sum to 0.546875.
  EXPECT_NEAR(mean.standard_error(), std::sqrt(0.546875 / 3 / 4), 1e-15);
  EXPECT_EQ(mean.text(), "43.75 % +- 21.35 (4)");
  Mean equal;
  for (int i = 0; i < 3; ++i) equal.add(0.1);
  EXPECT_NEAR(equal.standard_error(), 0, 1e-9);
}

// Right-hand sides are what SQuAD's evaluation script makes of them in Python.
TEST(Metrics, AnswersAreNormalisedAsBySquadsScript) {
  EXPECT_EQ(normalised_answer("The  Quick, brown fox!"), "quick brown fox");
  EXPECT_EQ(normalised_answer("An apple a day"), "apple day");
  EXPECT_EQ(normalised_answer("Theatre-goers' anthem"), "theatregoers anthem");
  EXPECT_EQ(normalised_answer("x_y 3.5%"), "xy 35");
  EXPECT_EQ(normalised_answer("a_b the, an."), "ab");
  EXPECT_EQ(normalised_answer("U.S.A."), "usa");
  EXPECT_EQ(normalised_answer("A"), "");
  EXPECT_EQ(normalised_answer("  "), "");
  EXPECT_EQ(normalised_answer(""), "");
}

TEST(Metrics, NormalisingKnowsUnicode) {
  EXPECT_EQ(normalised_answer("ÉCOLE Großer ΑΒΓ"), "école großer αβγ");
  EXPECT_EQ(normalised_answer("naïve\tthe\nÜber"), "naïve über");
  EXPECT_EQ(normalised_answer("the\u2014dog A\u00A0b"), "\u2014dog b");  // an em dash ends a word, a no-break space too
  EXPECT_EQ(normalised_answer("日本 the 語"), "日本 語");
  EXPECT_EQ(normalised_answer("O\u2019Neil the\u2019s \U0001F600"), "o\u2019neil \u2019s \U0001F600");
  EXPECT_EQ(normalised_answer("x\xFFy \xE2\x82"), "x\uFFFDy \uFFFD");  // never a crash, whatever a model writes
}

TEST(Metrics, F1IsTheBestOverTheAnswers) {
  EXPECT_DOUBLE_EQ(f1_score("Denver Broncos", Answers{"the Denver Broncos"}), 1);
  // 1 of 2 words and 1 of 1: precision 1/2, recall 1.
  EXPECT_DOUBLE_EQ(f1_score("Denver Broncos", Answers{"Broncos"}), 2.0 / 3);
  EXPECT_DOUBLE_EQ(f1_score("Denver Broncos", Answers{"Panthers", "Broncos", "x y z"}), 2.0 / 3);
  EXPECT_DOUBLE_EQ(f1_score("Carolina", Answers{"Broncos"}), 0);
  // Repeated words count as often as both have them: 2 of 3 and 2 of 2.
  EXPECT_DOUBLE_EQ(f1_score("b b b", Answers{"b b"}), 0.8);
  EXPECT_DOUBLE_EQ(f1_score("", Answers{"the"}), 0);
  EXPECT_DOUBLE_EQ(f1_score("answer", Answers{"no answer"}), 0);
  EXPECT_DOUBLE_EQ(f1_score("No answer.", Answers{"no answer"}), 1);
}

TEST(Metrics, ExactMatchIsOfNormalisedAnswers) {
  EXPECT_TRUE(exact_match("The Broncos!", Answers{"Panthers", "broncos"}));
  EXPECT_FALSE(exact_match("Denver Broncos", Answers{"broncos"}));
}

}  // namespace
}  // namespace zo2

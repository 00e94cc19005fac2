// Metrics of the protocol: pure functions of predictions and answers.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace zo2 {

// A proportion of n independent trials, such as an accuracy.
struct Proportion {
  int64_t right = 0;
  int64_t n = 0;

  double value() const;           // NaN for n = 0
  double standard_error() const;  // binomial, sqrt(p (1 - p) / n)
  std::string text() const;       // "81.54 % +- 1.31 (711 of 872)"
};

// The mean of n independent scores.
struct Mean {
  double sum = 0;
  double squares = 0;
  int64_t n = 0;

  void add(double score);
  double value() const;           // NaN for n = 0
  double standard_error() const;  // of the sample, sqrt(sum (x - mean)^2 / (n (n - 1))); NaN for n < 2
  std::string text() const;       // of scores in [0, 1]: "46.20 % +- 1.31 (1000)"
};

// Lower case, without ASCII punctuation and the articles a, an, the, words one space apart (SQuAD 1.1's evaluation
// script, which MeZO's metrics.py follows). UTF-8 in and out; bytes that are none become U+FFFD. Python's lower()
// differs in the few letters whose lower case is two (such as a dotted capital I) and in a final sigma.
std::string normalised_answer(std::string_view text);

// The best F1 over the answers of the prediction's normalised words, in [0, 1] (metrics.py, f1). Where the first answer
// is "CANNOTANSWER" or "no answer", 1 for the same words, else 0. `answers` must not be empty.
double f1_score(std::string_view prediction, std::span<const std::string> answers);

// Whether the normalised prediction is one of the normalised answers.
bool exact_match(std::string_view prediction, std::span<const std::string> answers);

}  // namespace zo2

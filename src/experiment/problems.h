// What is wrong with files that people write, collected so that all of it can be reported at once.
#pragma once

#include <set>
#include <string>
#include <tuple>

namespace zo2 {

// Where something was written; line and column count from 1. Line 0: the command line.
struct Position {
  std::string file;
  int line = 0;
  int column = 0;
};

class Problems {
 public:
  void add(const Position& where, const std::string& message);
  // `key` had a mistake and is left out: later checks that depend on it are skipped.
  void poison(const std::string& key) { poisoned_.insert(key); }
  bool poisoned(const std::string& key) const { return poisoned_.contains(key); }
  // Throws UsageError with a line each, in order of file and position.
  void throw_if_any() const;

 private:
  std::set<std::tuple<std::string, int, int, std::string>> lines_;
  std::set<std::string> poisoned_;
};

}  // namespace zo2

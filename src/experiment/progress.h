// The progress of a sweep on standard error: on a terminal a live line, elsewhere one line for each ended repeat.
#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <string>

#include "experiment/record.h"

namespace zo2 {

// Counts the lines of a file that grows, reading what is new only.
class LineCounter {
 public:
  explicit LineCounter(std::filesystem::path path = {}) : path_(std::move(path)) {}
  int64_t count();  // 0 while there is no file

 private:
  std::filesystem::path path_;
  int64_t offset_ = 0;
  int64_t lines_ = 0;
};

class Progress {
 public:
  // `total` repeats are to end, reused ones included. `quiet`: prints nothing.
  Progress(int total, bool quiet);

  void reuse(State state);  // a repeat that is there already; before begin_sweep()
  void begin_sweep();       // says what is reused; the time that is left counts from here
  void begin(const std::string& slug, int repeat, const std::filesystem::path& folder, int64_t steps);
  void tick();  // refreshes the live line
  void end(const std::string& slug, int repeat, const Json& result);

 private:
  using Clock = std::chrono::steady_clock;
  void clear_line();

  int total_;
  int done_ = 0;
  int run_ = 0;  // of these, not reused
  bool quiet_;
  bool terminal_;
  std::map<State, int> reused_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_shown_{};
  std::string current_;
  LineCounter samples_;
  int64_t steps_ = 0;
};

// "4:05", "1:04:05"
std::string clock_text(double seconds);

// How a sweep gets on after `run` repeats in `elapsed_s` with `remaining` to go: "2.5 s each, about 4:05 left". Empty
// while nothing has run.
std::string rate_text(int run, int remaining, double elapsed_s);

}  // namespace zo2

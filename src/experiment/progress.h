// The progress of a sweep on standard error: on a terminal a live line, elsewhere one line for each ended repeat.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>

#include "experiment/record.h"

namespace zo2 {

class Progress {
 public:
  // `total` repeats are to end, reused ones included. `quiet`: prints nothing.
  Progress(int total, bool quiet);

  void begin(const std::string& slug, int repeat, const std::filesystem::path& folder, int64_t steps);
  void tick();  // refreshes the live line
  void end(const std::string& slug, int repeat, const Json& result, bool reused);

 private:
  using Clock = std::chrono::steady_clock;
  void clear_line();

  int total_;
  int done_ = 0;
  int run_ = 0;  // not reused
  bool quiet_;
  bool terminal_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_shown_{};
  std::string current_;
  std::filesystem::path samples_;
  int64_t steps_ = 0;
};

}  // namespace zo2

// A line on the terminal that says how far something long has come: what is done, the rate, the time left. Prints
// nothing where standard error is no terminal.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace zo2 {

class LiveLine {
 public:
  // "{done}/{all} {unit}".
  explicit LiveLine(std::string unit);

  // Not from several threads at once. The last one has done == all.
  void show(int64_t done, int64_t all);

 private:
  using Clock = std::chrono::steady_clock;
  std::string unit_;
  bool shown_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_;
};

}  // namespace zo2

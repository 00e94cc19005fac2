// A line on the terminal that says how far something long has come. Prints nothing where standard error is no terminal.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

namespace zo2 {

class LiveLine {
 public:
  LiveLine();

  // Shows what `text` makes, five times a second at most, and always the last one. Not from several threads at once.
  void show(bool last, const std::function<std::string()>& text);
  // "{done}/{all} {unit}", the rate and the time left. The last one has done == all.
  void show(int64_t done, int64_t all, const std::string& unit);

 private:
  using Clock = std::chrono::steady_clock;
  bool shown_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_;
};

}  // namespace zo2

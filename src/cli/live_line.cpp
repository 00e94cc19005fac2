#include "cli/live_line.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

namespace zo2 {

LiveLine::LiveLine(std::string unit) : unit_(std::move(unit)), shown_(::isatty(STDERR_FILENO) == 1) {}

void LiveLine::show(int64_t done, int64_t all) {
  const Clock::time_point now = Clock::now();
  if (!shown_ || (done < all && now - last_ < std::chrono::milliseconds(200))) return;
  last_ = now;
  const double rate = static_cast<double>(done) / std::chrono::duration<double>(now - start_).count();
  fmt::print(stderr, "\r{}/{} {}  {:.0f} a second  {:.0f} s left   {}", done, all, unit_, rate,
             static_cast<double>(all - done) / rate, done == all ? "\n" : "");
  std::fflush(stderr);
}

}  // namespace zo2

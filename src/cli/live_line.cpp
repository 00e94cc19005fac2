#include "cli/live_line.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

namespace zo2 {

LiveLine::LiveLine() : shown_(::isatty(STDERR_FILENO) == 1) {}

void LiveLine::show(bool last, const std::function<std::string()>& text) {
  const Clock::time_point now = Clock::now();
  if (!shown_ || (!last && now - last_ < std::chrono::milliseconds(200))) return;
  last_ = now;
  fmt::print(stderr, "\r{}   {}", text(), last ? "\n" : "");
  std::fflush(stderr);
}

void LiveLine::show(int64_t done, int64_t all, const std::string& unit) {
  show(done == all, [&] {
    const double rate = static_cast<double>(done) / std::chrono::duration<double>(Clock::now() - start_).count();
    return fmt::format("{}/{} {}  {:.0f} a second  {:.0f} s left", done, all, unit, rate,
                       static_cast<double>(all - done) / rate);
  });
}

}  // namespace zo2

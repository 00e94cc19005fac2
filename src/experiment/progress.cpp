#include "experiment/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>

#include "experiment/metrics.h"

namespace zo2 {
namespace {

std::string clock_text(double seconds) {
  const auto whole = static_cast<int64_t>(seconds);
  return whole < 3600 ? fmt::format("{}:{:02}", whole / 60, whole % 60)
                      : fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

int64_t count_lines(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return std::count(std::istreambuf_iterator<char>(stream), {}, '\n');
}

}  // namespace

Progress::Progress(int total, bool quiet) : total_(total), quiet_(quiet), terminal_(isatty(STDERR_FILENO) == 1) {}

void Progress::clear_line() {
  if (terminal_) fmt::print(stderr, "\r\033[K");
}

void Progress::begin(const std::string& slug, int repeat, const std::filesystem::path& folder, int64_t steps) {
  current_ = fmt::format("{} r{}", slug, repeat);
  samples_ = folder / "samples.jsonl";
  steps_ = steps;
  last_shown_ = {};
  tick();
}

void Progress::tick() {
  const Clock::time_point now = Clock::now();
  if (quiet_ || !terminal_ || now - last_shown_ < std::chrono::milliseconds(500)) return;
  last_shown_ = now;
  const double elapsed = std::chrono::duration<double>(now - start_).count();
  clear_line();
  fmt::print(stderr, "[{}/{}] {}  step {}/{}  {} elapsed", done_, total_, current_, count_lines(samples_), steps_,
             clock_text(elapsed));
  if (run_ > 0) fmt::print(stderr, ", about {} left", clock_text(elapsed / run_ * (total_ - done_)));
  std::fflush(stderr);
}

void Progress::end(const std::string& slug, int repeat, const Json& result, bool reused) {
  ++done_;
  if (!reused) ++run_;
  if (quiet_) return;
  clear_line();
  const Json metrics = result.value("metrics", Json::object());
  std::string figures;
  for (const char* name : {"wall_s", "tokens_per_s"}) {
    if (metrics.contains(name)) figures += ", " + format_metric(*find_metric(name), metrics[name]);
  }
  fmt::print(stderr, "[{}/{}] {} r{}: {}{}{}\n", done_, total_, slug, repeat, result.value("state", "?"), figures,
             reused ? " (reused)" : "");
  if (!reused && result.contains("error")) {
    fmt::print(stderr, "    {}\n", result["error"].get<std::string>());
  }
  std::fflush(stderr);
}

}  // namespace zo2

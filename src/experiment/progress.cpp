#include "experiment/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <vector>

#include "experiment/metrics.h"

namespace zo2 {

int64_t LineCounter::count() {
  std::ifstream stream(path_, std::ios::binary);
  if (!stream.seekg(offset_)) return lines_;
  const std::string text{std::istreambuf_iterator<char>(stream), {}};
  offset_ += static_cast<int64_t>(text.size());
  return lines_ += std::ranges::count(text, '\n');
}

Progress::Progress(int total, bool quiet) : total_(total), quiet_(quiet), terminal_(isatty(STDERR_FILENO) == 1) {}

void Progress::clear_line() {
  if (terminal_) fmt::print(stderr, "\r\033[K");
}

void Progress::reuse(State state) {
  ++done_;
  ++reused_[state];
}

void Progress::begin_sweep() {
  start_ = Clock::now();
  if (quiet_ || reused_.empty()) return;
  std::vector<std::string> counts;
  bool failed = false;
  for (const auto& [state, count] : reused_) {
    counts.push_back(fmt::format("{} {}", count, state_name(state)));
    failed = failed || is_failure(state);
  }
  fmt::print(stderr, "[{}/{}] there already: {}{}\n", done_, total_, fmt::join(counts, ", "),
             failed ? "; --retry-failed runs the failed ones again" : "");
}

void Progress::begin(const std::string& slug, int repeat, const std::filesystem::path& folder, int64_t steps) {
  current_ = fmt::format("{} r{}", slug, repeat);
  samples_ = LineCounter(folder / "samples.jsonl");
  steps_ = steps;
  last_shown_ = {};
  tick();
}

void Progress::tick() {
  const Clock::time_point now = Clock::now();
  if (quiet_ || !terminal_ || now - last_shown_ < std::chrono::milliseconds(500)) return;
  last_shown_ = now;
  const double elapsed = std::chrono::duration<double>(now - start_).count();
  const std::string rate = rate_text(run_, total_ - done_, elapsed);
  clear_line();
  fmt::print(stderr, "[{}/{}] {}  step {}/{}  {} elapsed{}{}", done_, total_, current_, samples_.count(), steps_,
             clock_text(elapsed), rate.empty() ? "" : ", ", rate);
  std::fflush(stderr);
}

void Progress::end(const std::string& slug, int repeat, const Json& result) {
  ++done_;
  ++run_;
  if (quiet_) return;
  clear_line();
  const Json metrics = result.value("metrics", Json::object());
  std::string figures;
  for (const char* name : {"wall_s", "tokens_per_s"}) {
    if (metrics.contains(name)) figures += ", " + format_metric(*find_metric(name), metrics[name]);
  }
  fmt::print(stderr, "[{}/{}] {} r{}: {}{}\n", done_, total_, slug, repeat, result.value("state", "?"), figures);
  if (result.contains("error")) fmt::print(stderr, "    {}\n", result["error"].get<std::string>());
  std::fflush(stderr);
}

std::string clock_text(double seconds) {
  const auto whole = static_cast<int64_t>(seconds);
  return whole < 3600 ? fmt::format("{}:{:02}", whole / 60, whole % 60)
                      : fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

std::string rate_text(int run, int remaining, double elapsed_s) {
  if (run <= 0 || elapsed_s <= 0) return "";
  const double each_s = elapsed_s / run;
  const std::string rate = each_s < 60 ? fmt::format("{:.1f} s each", each_s) : clock_text(each_s) + " each";
  return fmt::format("{}, about {} left", rate, clock_text(each_s * remaining));
}

}  // namespace zo2

#include "experiment/repeat_result.h"

#include <deque>
#include <fstream>

#include "base/error.h"
#include "experiment/config_schema.h"
#include "experiment/record.h"

namespace zo2 {
namespace {

constexpr size_t kTailLines = 20;
constexpr size_t kTailColumns = 500;

struct Ending {
  State state = State::crashed;
  std::string error;
};

// Why a process that has nothing good to say ended; no error text when what it reported says it all.
Ending ending_of(const ProcessResult& process, State reported, bool has_report, bool good) {
  if (process.interrupted) return {State::interrupted, "interrupted"};
  if (process.timed_out) return {State::timeout, fmt::format("stopped after {:.1f} s", process.wall_s)};
  if (process.kernel_oom) return {State::oom, "the kernel killed it: the machine ran out of memory"};
  if (process.signal != 0) return {State::crashed, fmt::format("ended by {}", signal_name(process.signal))};
  if (has_report && !good) return {reported, ""};
  if (process.exit_code == 0) return {State::crashed, "ended without a result"};
  return {State::crashed, fmt::format("ended with exit code {}", process.exit_code)};
}

}  // namespace

Json result_of(const std::filesystem::path& folder, const std::string& config_hash, const ProcessResult& process) {
  Json result;
  State state = State::crashed;
  std::string error;
  try {
    if (std::filesystem::exists(folder / kReportedFile)) {
      result = read_json(folder / kReportedFile);
      state = parse_state(result.at("state").get<std::string>());
    }
  } catch (const std::exception& problem) {
    result = Json();
    error = fmt::format("what it reported cannot be read: {}", problem.what());
  }
  const bool has_report = !result.is_null();
  const bool good = has_report && (state == State::ok || state == State::projected);
  if (!good || process.exit_code != 0) {
    const Ending ending = ending_of(process, state, has_report, good);
    state = ending.state;
    if (error.empty() || process.exit_code != 0) error = ending.error;
  }
  if (!has_report) result = make_result(state, config_hash);
  result["state"] = state_name(state);
  result["config_hash"] = config_hash;
  if (state != State::ok && state != State::projected) {
    if (!error.empty()) result["error"] = error;
    std::string tail = last_lines(folder / "stderr.log");
    if (tail.empty()) tail = last_lines(folder / "stdout.log");  // where other programs may say it
    if (!tail.empty()) result["stderr_tail"] = tail;
    if (process.signal != 0) result["signal"] = signal_name(process.signal);
  }
  result["exit_code"] = process.exit_code;
  result["metrics"]["wall_s"] = process.wall_s;
  result["metrics"]["host_rss_peak_bytes"] = process.rss_peak_bytes;
  return result;
}

std::string device_of(const Json& result, const Json& config) {
  const Json chosen = result.value("chosen", Json::object());
  return chosen.value("device", config_at(config, "engine.device").get<std::string>());
}

std::string last_lines(const std::filesystem::path& path) {
  std::ifstream stream(path);
  std::deque<std::string> lines;
  std::string line;
  while (std::getline(stream, line)) {
    lines.push_back(line.substr(0, kTailColumns));
    if (lines.size() > kTailLines) lines.pop_front();
  }
  return fmt::format("{}", fmt::join(lines, "\n"));
}

}  // namespace zo2

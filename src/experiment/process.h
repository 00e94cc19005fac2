// One child process, watched until it ends: output to files, a time limit, its peak memory.
#pragma once

#include <array>
#include <csignal>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace zo2 {

struct ProcessSpec {
  std::vector<std::string> command;  // a program, looked for on PATH when its name has no slash, then arguments
  std::filesystem::path stdout_path;
  std::filesystem::path stderr_path;
  double timeout_s = 0;  // 0: none
  double grace_s = 10;   // between SIGTERM (or the forwarded signal) and SIGKILL; a second signal ends the wait
};

struct ProcessResult {
  int exit_code = -1;  // -1 when a signal ended it
  int signal = 0;      // the signal that ended it, or 0
  bool timed_out = false;
  bool interrupted = false;  // this process was asked to stop while the child ran
  bool kernel_oom = false;   // SIGKILL that we did not send, while the kernel counted an out-of-memory kill
  double wall_s = 0;
  // The child's own VmHWM. Too small where a child that stays below this process's own peak grows in its last 50 ms.
  int64_t rss_peak_bytes = 0;
};

// SIGINT, SIGTERM and SIGHUP set a flag instead of ending this process, as long as this lives. One at a time.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  static int received();  // the signal, or 0

 private:
  static constexpr std::array<int, 3> kSignals{SIGINT, SIGTERM, SIGHUP};
  std::array<struct sigaction, 3> old_{};
};

// Runs the child in a process group of its own, calls `tick` about twenty times a second, and returns when the child
// has ended; what is left of its group is killed then. The child is killed when the calling thread ends before it.
// Throws IoError when it cannot be started.
ProcessResult run_process(const ProcessSpec& spec, const std::function<void()>& tick = {});

std::string signal_name(int signal);  // "SIGSEGV"
std::filesystem::path self_executable();

}  // namespace zo2

#include "experiment/process.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <string_view>

#include "base/error.h"

extern char** environ;

namespace zo2 {
namespace {

using Clock = std::chrono::steady_clock;

volatile std::sig_atomic_t received_signal = 0;
volatile std::sig_atomic_t received_count = 0;

void note_signal(int signal) {
  received_signal = signal;
  received_count = received_count + 1;
}

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// The number after "name" in a file of lines such as "VmHWM:   1234 kB"; 0 when it is not there.
int64_t number_in(const std::string& path, std::string_view name) {
  std::ifstream stream(path);
  std::string line;
  while (std::getline(stream, line)) {
    if (!line.starts_with(name)) continue;
    const size_t digit = line.find_first_of("0123456789", name.size());
    return digit == std::string::npos ? 0 : std::stoll(line.substr(digit));
  }
  return 0;
}

int64_t peak_rss_of(const std::string& process) { return number_in("/proc/" + process + "/status", "VmHWM:") * 1024; }

int64_t kernel_oom_kills() { return number_in("/proc/vmstat", "oom_kill "); }

pid_t start(const ProcessSpec& spec) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, spec.stdout_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC,
                                   0644);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, spec.stderr_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC,
                                   0644);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t defaults;
  sigemptyset(&defaults);
  for (int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) sigaddset(&defaults, signal);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF);

  std::vector<char*> arguments;
  for (const std::string& argument : spec.command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  pid_t pid = 0;
  const int error = posix_spawn(&pid, arguments[0], &actions, &attributes, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  ZO2_CHECK(error == 0, IoError, "cannot start {}: {}", spec.command[0], std::strerror(error));
  return pid;
}

bool has_ended(pid_t pid) {
  siginfo_t info{};
  return waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid;
}

// Waits at most `ms`, less when the process ends or a signal arrives. A pidfd becomes readable when its process ends.
void wait_a_little(int pidfd, int ms) {
  pollfd descriptor{pidfd, POLLIN, 0};
  poll(&descriptor, pidfd >= 0 ? 1 : 0, ms);
}

}  // namespace

InterruptGuard::InterruptGuard() {
  received_signal = 0;
  received_count = 0;
  struct sigaction action{};
  action.sa_handler = note_signal;
  sigemptyset(&action.sa_mask);
  for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &action, &old_[i]);
}

InterruptGuard::~InterruptGuard() {
  for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &old_[i], nullptr);
}

int InterruptGuard::received() { return received_signal; }

ProcessResult run_process(const ProcessSpec& spec, const std::function<void()>& tick) {
  ProcessResult result;
  const int64_t own_peak_bytes = peak_rss_of("self");
  const int64_t oom_kills_before = kernel_oom_kills();
  const Clock::time_point begin = Clock::now();
  const pid_t pid = start(spec);
  const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));

  bool stopping = false;
  bool killed = false;
  Clock::time_point stop_began;
  int wait_ms = 1;
  while (!has_ended(pid)) {
    result.rss_peak_bytes = std::max(result.rss_peak_bytes, peak_rss_of(std::to_string(pid)));
    const int signal = received_signal;
    result.interrupted = result.interrupted || signal != 0;
    result.timed_out = result.timed_out || (!stopping && spec.timeout_s > 0 && seconds_since(begin) > spec.timeout_s);
    if (!stopping && (signal != 0 || result.timed_out)) {
      kill(-pid, signal != 0 ? signal : SIGTERM);
      stopping = true;
      stop_began = Clock::now();
    } else if (stopping && !killed && (seconds_since(stop_began) > spec.grace_s || received_count > 1)) {
      kill(-pid, SIGKILL);
      killed = true;
    }
    if (tick) tick();
    wait_a_little(pidfd, wait_ms);
    wait_ms = std::min(2 * wait_ms, 50);  // short at first, to see something of a short life
  }
  result.wall_s = seconds_since(begin);
  kill(-pid, SIGKILL);  // what the child left behind; its own entry still holds the group's number
  int status = 0;
  rusage usage{};
  wait4(pid, &status, 0, &usage);
  if (pidfd >= 0) close(pidfd);

  if (WIFSIGNALED(status)) {
    result.signal = WTERMSIG(status);
    result.kernel_oom = result.signal == SIGKILL && !killed && kernel_oom_kills() > oom_kills_before;
  } else {
    result.exit_code = WEXITSTATUS(status);
  }
  // A spawned process starts with its parent's peak in ru_maxrss, so a larger one is its own.
  const int64_t usage_peak_bytes = usage.ru_maxrss * 1024;
  if (usage_peak_bytes > own_peak_bytes || result.rss_peak_bytes == 0) {
    result.rss_peak_bytes = std::max(result.rss_peak_bytes, usage_peak_bytes);
  }
  return result;
}

std::string signal_name(int signal) {
  const char* name = sigabbrev_np(signal);
  return name != nullptr ? fmt::format("SIG{}", name) : fmt::format("signal {}", signal);
}

std::filesystem::path self_executable() { return std::filesystem::read_symlink("/proc/self/exe"); }

}  // namespace zo2

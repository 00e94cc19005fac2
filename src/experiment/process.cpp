#include "experiment/process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
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

int64_t peak_rss_of(pid_t pid) { return number_in(fmt::format("/proc/{}/status", pid), "VmHWM:") * 1024; }

int64_t kernel_oom_kills() { return number_in("/proc/vmstat", "oom_kill "); }

// Whether `bytes` bytes came before the other end was closed.
bool read_fully(int descriptor, void* data, size_t bytes) {
  ssize_t count = 0;
  do {
    count = read(descriptor, data, bytes);
  } while (count < 0 && errno == EINTR);
  return count == static_cast<ssize_t>(bytes);
}

// Opens `path` as `descriptor`; between fork and exec.
bool open_as(int descriptor, const char* path, int flags) {
  const int opened = open(path, flags, 0644);
  return opened >= 0 && (opened == descriptor || (dup2(opened, descriptor) == descriptor && close(opened) == 0));
}

// What the child does between fork and exec, where only system calls are safe; returns when something failed.
void become(const ProcessSpec& spec, char* const* arguments, pid_t parent) {
  // The kernel kills the child when the thread that started it ends, so that a killed sweep leaves nothing behind.
  // A program that exec starts keeps this.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) return;  // it died before that
  if (setpgid(0, 0) != 0) return;
  for (int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) std::signal(signal, SIG_DFL);
  constexpr int kNewFile = O_WRONLY | O_CREAT | O_TRUNC;
  if (!open_as(STDIN_FILENO, "/dev/null", O_RDONLY) || !open_as(STDOUT_FILENO, spec.stdout_path.c_str(), kNewFile) ||
      !open_as(STDERR_FILENO, spec.stderr_path.c_str(), kNewFile)) {
    return;
  }
  execvp(arguments[0], arguments);  // glibc's needs no allocation
}

pid_t start(const ProcessSpec& spec) {
  std::vector<char*> arguments;
  for (const std::string& argument : spec.command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  // Closed by a successful exec; else it brings the reason.
  std::array<int, 2> failure{};
  ZO2_CHECK(pipe2(failure.data(), O_CLOEXEC) == 0, IoError, "cannot make a pipe: {}", std::strerror(errno));
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) {
    become(spec, arguments.data(), parent);
    const int reason = errno;
    static_cast<void>(!write(failure[1], &reason, sizeof reason));
    _exit(127);
  }
  const int fork_error = errno;
  close(failure[1]);
  int reason = 0;
  const bool failed = pid < 0 || read_fully(failure[0], &reason, sizeof reason);
  close(failure[0]);
  if (pid > 0 && failed) waitpid(pid, nullptr, 0);
  ZO2_CHECK(!failed, IoError, "cannot start {}: {}", spec.command[0], std::strerror(pid < 0 ? fork_error : reason));
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
  const int64_t own_rss_bytes = number_in("/proc/self/status", "VmRSS:") * 1024;
  const int64_t oom_kills_before = kernel_oom_kills();
  const Clock::time_point begin = Clock::now();
  const pid_t pid = start(spec);
  const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));

  bool stopping = false;
  bool killed = false;
  Clock::time_point stop_began;
  int wait_ms = 1;
  while (!has_ended(pid)) {
    result.rss_peak_bytes = std::max(result.rss_peak_bytes, peak_rss_of(pid));
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
  // ru_maxrss counts what the forked process held of its parent's before exec, so only a larger one is its own.
  const int64_t usage_peak_bytes = usage.ru_maxrss * 1024;
  if (usage_peak_bytes > own_rss_bytes || result.rss_peak_bytes == 0) {
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

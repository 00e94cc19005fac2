#include "experiment/file_lock.h"

#include <sys/file.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "base/error.h"

namespace zo2 {
namespace {

// A lock needs no right to write, and where everybody may write (/tmp) the kernel refuses to let one user open
// another's file as if to create it.
File open_lock_file(const std::filesystem::path& path) {
  return std::filesystem::exists(path) ? File::open_for_reading(path) : File::open_for_appending(path);
}

bool take(const File& file, LockKind kind) {
  if (flock(file.descriptor(), (kind == LockKind::shared ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0) return true;
  ZO2_CHECK(errno == EWOULDBLOCK || errno == EINTR, IoError, "cannot lock {}: {}", file.path().string(),
            std::strerror(errno));
  return false;
}

}  // namespace

std::optional<File> try_lock(const std::filesystem::path& path, LockKind kind) {
  File file = open_lock_file(path);
  if (!take(file, kind)) return std::nullopt;
  return file;
}

std::optional<File> wait_for_lock(const std::filesystem::path& path, const std::function<bool()>& waiting) {
  File file = open_lock_file(path);
  // Asking again, rather than sleeping in flock, sees an interruption whenever it comes.
  while (!take(file, LockKind::exclusive)) {
    if (!waiting()) return std::nullopt;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  return file;
}

}  // namespace zo2

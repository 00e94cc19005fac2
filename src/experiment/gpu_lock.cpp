#include "experiment/gpu_lock.h"

#include <sys/file.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "base/error.h"

namespace zo2 {
namespace {

namespace fs = std::filesystem;

// A lock needs no right to write, and where everybody may write (/tmp) the kernel refuses to let one user open
// another's file as if to create it.
File open_lock_file(const fs::path& path) {
  return fs::exists(path) ? File::open_for_reading(path) : File::open_for_appending(path);
}

}  // namespace

std::optional<File> lock_gpu(const NvmlDevice& device, const std::function<bool()>& waiting) {
  const std::string name = device.uuid().value_or(device.pci_bus_id().value_or("0"));
  File file = open_lock_file(fs::temp_directory_path() / fmt::format("zo2-gpu-{}.lock", name));
  // Asking again, rather than sleeping in flock, sees an interruption whenever it comes.
  while (flock(file.descriptor(), LOCK_EX | LOCK_NB) != 0) {
    ZO2_CHECK(errno == EWOULDBLOCK || errno == EINTR, IoError, "cannot lock {}: {}", file.path().string(),
              std::strerror(errno));
    if (!waiting()) return std::nullopt;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  return file;
}

}  // namespace zo2

#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <utility>

#include "base/error.h"

namespace zo2 {
namespace {

int open_or_throw(const std::filesystem::path& path, int flags, const char* purpose) {
  const int descriptor = ::open(path.c_str(), flags | O_CLOEXEC, 0644);
  ZO2_CHECK(descriptor >= 0, IoError, "cannot {} {}: {}", purpose, path.string(), std::strerror(errno));
  return descriptor;
}

}  // namespace

File File::open_for_reading(const std::filesystem::path& path) { return {open_or_throw(path, O_RDONLY, "read"), path}; }

File File::create(const std::filesystem::path& path) {
  return {open_or_throw(path, O_WRONLY | O_CREAT | O_TRUNC, "write"), path};
}

File File::open_for_appending(const std::filesystem::path& path) {
  return {open_or_throw(path, O_RDWR | O_CREAT | O_APPEND, "append to"), path};
}

File::File(File&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)), path_(std::move(other.path_)) {}

File& File::operator=(File&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  std::swap(path_, other.path_);
  return *this;
}

File::~File() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void File::write_all(const void* data, size_t bytes) {
  const char* cursor = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t written = ::write(descriptor_, cursor, bytes);
    if (written < 0 && errno == EINTR) continue;
    ZO2_CHECK(written > 0, IoError, "cannot write {}: {}", path_.string(), std::strerror(errno));
    cursor += written;
    bytes -= static_cast<size_t>(written);
  }
}

void File::sync() {
  ZO2_CHECK(::fdatasync(descriptor_) == 0, IoError, "cannot sync {}: {}", path_.string(), std::strerror(errno));
}

void File::truncate(int64_t bytes) {
  ZO2_CHECK(::ftruncate(descriptor_, bytes) == 0, IoError, "cannot truncate {}: {}", path_.string(),
            std::strerror(errno));
}

int64_t File::size() const {
  struct stat info{};
  ZO2_CHECK(::fstat(descriptor_, &info) == 0, IoError, "cannot stat {}: {}", path_.string(), std::strerror(errno));
  return info.st_size;
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  ZO2_CHECK(stream, IoError, "cannot read {}: {}", path.string(), std::strerror(errno));
  std::string text{std::istreambuf_iterator<char>(stream), {}};
  ZO2_CHECK(!stream.bad(), IoError, "cannot read {}: {}", path.string(), std::strerror(errno));
  return text;
}

void make_folder(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  ZO2_CHECK(!error, IoError, "cannot make the folder {}: {}", folder.string(), error.message());
}

namespace {

void sync_folder_of(const std::filesystem::path& path) {
  const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : ".";
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor >= 0) {
    ::fsync(descriptor);
    ::close(descriptor);
  }
}

}  // namespace

void rename_durably(const std::filesystem::path& from, const std::filesystem::path& to) {
  ZO2_CHECK(::rename(from.c_str(), to.c_str()) == 0, IoError, "cannot rename {} to {}: {}", from.string(), to.string(),
            std::strerror(errno));
  sync_folder_of(to);
}

bool rename_to_new_durably(const std::filesystem::path& from, const std::filesystem::path& to) {
  int reason = ::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0 ? 0 : errno;
  if (reason == EINVAL || reason == ENOSYS) {  // a file system without it, say NFS: hard links do the same there
    reason = ::link(from.c_str(), to.c_str()) == 0 ? 0 : errno;
  }
  ::unlink(from.c_str());
  ZO2_CHECK(reason == 0 || reason == EEXIST, IoError, "cannot create {}: {}", to.string(), std::strerror(reason));
  sync_folder_of(to);
  return reason == 0;
}

}  // namespace zo2

#include "store/mapped_file.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/file.h"

namespace zo2 {

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  const File file = File::open_for_reading(path);
  struct stat info{};
  ZO2_CHECK(::fstat(file.descriptor(), &info) == 0, IoError, "cannot stat {}: {}", path.string(), std::strerror(errno));
  ZO2_CHECK(S_ISREG(info.st_mode), IoError, "cannot read {}: not a regular file", path.string());
  size_ = static_cast<size_t>(info.st_size);
  if (size_ == 0) return;
  void* address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.descriptor(), 0);
  ZO2_CHECK(address != MAP_FAILED, IoError, "cannot map {} ({} bytes): {}", path.string(), size_, std::strerror(errno));
  data_ = static_cast<const std::byte*>(address);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

}  // namespace zo2

#include "store/host_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "base/bytes.h"
#include "base/error.h"
#include "store/parallel.h"

namespace zo2 {
namespace {

constexpr int64_t kHugePage = 2 * kMiB;
constexpr int kCollapse = 25;  // MADV_COLLAPSE of Linux 6.1, which older headers lack

int64_t page_bytes() { return ::sysconf(_SC_PAGESIZE); }

// The number behind `key` in a file of "key value" or "key: value unit" lines.
std::optional<int64_t> read_keyed_number(const std::filesystem::path& path, std::string_view key) {
  std::ifstream stream(path);
  std::string word;
  while (stream >> word) {
    if (word == key) {
      int64_t value = 0;
      if (stream >> value) return value;
      return std::nullopt;
    }
    stream.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return std::nullopt;
}

std::optional<int64_t> read_number(const std::filesystem::path& path) {
  std::ifstream stream(path);
  int64_t value = 0;
  if (stream >> value) return value;
  return std::nullopt;  // absent, or "max"
}

// What the control groups (version 2) that hold this process leave. Page cache counts as used there but is given up
// under pressure.
int64_t control_group_left() {
  int64_t left = std::numeric_limits<int64_t>::max();
  std::ifstream stream("/proc/self/cgroup");
  for (std::string line; std::getline(stream, line);) {
    if (!line.starts_with("0::/")) continue;
    const std::filesystem::path root = "/sys/fs/cgroup";
    for (std::filesystem::path group = root / line.substr(4);; group = group.parent_path()) {
      const auto limit = read_number(group / "memory.max");
      const auto used = read_number(group / "memory.current");
      if (limit && used) {
        const int64_t cache = read_keyed_number(group / "memory.stat", "inactive_file").value_or(0);
        left = std::min(left, std::max<int64_t>(0, *limit - *used + cache));
      }
      if (group == root || !group.has_relative_path()) break;
    }
  }
  return left;
}

std::string not_enough(int64_t bytes, std::string_view purpose, int64_t available) {
  return fmt::format(
      "{} needs {} ({} bytes) of host memory, and {} ({} bytes) are available: free some, choose a smaller model or a "
      "16-bit dtype, or run on a machine with more",
      purpose, format_bytes(bytes), bytes, format_bytes(available), available);
}

// Maps `mapped` bytes (whole pages) of a memory file, or anonymous ones when `descriptor` is -1; null when the kernel
// refuses. From 2 MiB on the address is aligned to 2 MiB: kernels before 6.7 place mappings at any page, and then the
// first and last huge pages are lost. So reserve more address space, trim it, and map into what is left.
std::byte* map_aligned(int64_t mapped, int descriptor) {
  const int64_t slack = mapped >= kHugePage ? kHugePage : 0;
  constexpr int kReserve = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* reserved = ::mmap(nullptr, static_cast<size_t>(mapped + slack), PROT_NONE, kReserve, -1, 0);
  if (reserved == MAP_FAILED) return nullptr;
  auto* data = static_cast<std::byte*>(reserved);
  if (slack > 0) {
    const auto start = reinterpret_cast<int64_t>(reserved);
    const int64_t before = align_up(start, kHugePage) - start;
    if (before > 0) ::munmap(data, static_cast<size_t>(before));
    data += before;
    if (slack > before) ::munmap(data + mapped, static_cast<size_t>(slack - before));
  }
  const int kind = descriptor < 0 ? kReserve : MAP_SHARED | MAP_NORESERVE;
  if (::mmap(data, static_cast<size_t>(mapped), PROT_READ | PROT_WRITE, MAP_FIXED | kind, descriptor, 0) ==
      MAP_FAILED) {
    ::munmap(data, static_cast<size_t>(mapped));
    return nullptr;
  }
  // Advice: a kernel without huge pages, or without them for memory files (shmem_enabled), may refuse.
  if (slack > 0) ::madvise(data, static_cast<size_t>(mapped), MADV_HUGEPAGE);
  return data;
}

}  // namespace

int64_t available_host_bytes() {
  const auto kib = read_keyed_number("/proc/meminfo", "MemAvailable:");
  const int64_t machine = kib ? *kib * kKiB : std::numeric_limits<int64_t>::max();
  return std::min(machine, control_group_left());
}

void require_host_memory(int64_t bytes, std::string_view purpose) {
  const int64_t available = available_host_bytes();
  if (bytes > available) throw OutOfMemoryError(not_enough(bytes, purpose, available));
}

SharedMemory::SharedMemory(int64_t bytes, std::string_view purpose) : size_(bytes) {
  ZO2_ASSERT(bytes >= 0);
  require_host_memory(bytes, purpose);
  descriptor_ = ::memfd_create("zo2", MFD_CLOEXEC);
  ZO2_CHECK(descriptor_ >= 0, IoError, "{}: the kernel makes no memory file: {}", purpose, std::strerror(errno));
  if (::ftruncate(descriptor_, bytes) == 0) return;
  const int reason = errno;
  ::close(descriptor_);
  throw IoError(fmt::format("{}: cannot make a memory file of {} bytes: {}", purpose, bytes, std::strerror(reason)));
}

SharedMemory::~SharedMemory() { ::close(descriptor_); }

HostBuffer::HostBuffer(int64_t bytes, std::string_view purpose) : size_(bytes) {
  ZO2_ASSERT(bytes >= 0);
  if (bytes == 0) return;
  require_host_memory(bytes, purpose);
  data_ = map_aligned(mapped_bytes(), -1);
  if (data_ == nullptr) throw OutOfMemoryError(not_enough(bytes, purpose, available_host_bytes()));
}

HostBuffer HostBuffer::map(const SharedMemory& memory) {
  HostBuffer buffer;
  if (memory.size() == 0) return buffer;
  buffer.data_ = map_aligned(align_up(memory.size(), page_bytes()), memory.descriptor());
  ZO2_CHECK(buffer.data_ != nullptr, OutOfMemoryError, "cannot map {} ({} bytes) of shared host memory: {}",
            format_bytes(memory.size()), memory.size(), std::strerror(errno));
  buffer.size_ = memory.size();
  buffer.shared_ = true;
  return buffer;
}

HostBuffer::HostBuffer(HostBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)), shared_(other.shared_) {}

HostBuffer& HostBuffer::operator=(HostBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(shared_, other.shared_);
  return *this;
}

HostBuffer::~HostBuffer() {
  if (data_ != nullptr) ::munmap(data_, static_cast<size_t>(mapped_bytes()));
}

int64_t HostBuffer::mapped_bytes() const { return align_up(size_, page_bytes()); }

void HostBuffer::touch(int threads) {
  // Pieces of whole huge pages, so that no two threads fault the same one.
  const int64_t mapped = mapped_bytes();
  const int64_t pieces = (mapped + kHugePage - 1) / kHugePage;
  const int64_t batch = std::max<int64_t>(1, pieces / (8 * std::max(1, threads)));
  parallel_for(threads, (pieces + batch - 1) / batch, [&](int64_t i) {
    const int64_t begin = i * batch * kHugePage;
    const int64_t end = std::min(mapped, begin + batch * kHugePage);
#ifdef MADV_POPULATE_WRITE
    if (::madvise(data_ + begin, static_cast<size_t>(end - begin), MADV_POPULATE_WRITE) == 0) {
      // Most systems give memory files small pages (shmem_enabled: never), but join them when asked afterwards.
      if (shared_) ::madvise(data_ + begin, static_cast<size_t>(end - begin), kCollapse);  // advice
      return;
    }
    // EFAULT: touching shared memory by hand would raise SIGBUS, for want of memory.
    if (errno == ENOMEM || errno == EFAULT)
      throw OutOfMemoryError(not_enough(size_, "touching host memory", available_host_bytes()));
#endif
    // Kernels before 5.14: write each page's first byte back to itself.
    for (int64_t page = begin; page < end; page += page_bytes()) {
      auto* byte = reinterpret_cast<volatile unsigned char*>(data_ + page);
      *byte = *byte;
    }
  });
}

}  // namespace zo2

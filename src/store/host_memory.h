// Host memory for weights: anonymous mappings of exact size on transparent huge pages.
//
// Why not malloc or LibTorch's pinned allocator: the latter rounds to powers of two, and huge pages make touching 13
// times faster and copying 4% faster than 4 KiB pages (design, 'Host memory').
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace zo2 {

// What a new allocation can have: MemAvailable of /proc/meminfo, less where a control group (Slurm, a container) leaves
// less. Memory that is mapped but not yet touched still counts as available.
int64_t available_host_bytes();

// Throws OutOfMemoryError naming `purpose`, what it needs and what is there, unless `bytes` are available.
void require_host_memory(int64_t bytes, std::string_view purpose);

// Owns one mapping. Reads as zero until written. Not synchronised.
class HostBuffer {
 public:
  HostBuffer() = default;
  // Address aligned to 2 MiB from 2 MiB on, else to a page. Nothing is touched yet.
  // Throws OutOfMemoryError with the size asked for and the size available.
  explicit HostBuffer(int64_t bytes, std::string_view purpose = "host memory");
  HostBuffer(HostBuffer&& other) noexcept;
  HostBuffer& operator=(HostBuffer&& other) noexcept;
  HostBuffer(const HostBuffer&) = delete;
  HostBuffer& operator=(const HostBuffer&) = delete;
  ~HostBuffer();

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  int64_t size() const { return size_; }  // as asked for
  int64_t mapped_bytes() const;           // rounded up to whole pages

  // Makes every page present without changing its contents, split over `threads` threads. Throws OutOfMemoryError.
  void touch(int threads);

 private:
  std::byte* data_ = nullptr;
  int64_t size_ = 0;
};

}  // namespace zo2

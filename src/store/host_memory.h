// Host memory for weights: mappings of exact size on transparent huge pages, anonymous or of memory that several
// mappings share.
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

// Memory without an address: a memory file (memfd) that any number of HostBuffers map, each at an address and with page
// tables of its own. Reads as zero until written; its pages live until this and the last of its mappings are gone.
class SharedMemory {
 public:
  // Nothing is touched yet. Throws OutOfMemoryError with the size asked for and the size available, and IoError when
  // the kernel makes no memory file.
  explicit SharedMemory(int64_t bytes, std::string_view purpose = "host memory");
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;
  ~SharedMemory();

  int64_t size() const { return size_; }  // as asked for
  int descriptor() const { return descriptor_; }

 private:
  int descriptor_ = -1;
  int64_t size_ = 0;
};

// Owns one mapping. Reads as zero until written. Not synchronised.
class HostBuffer {
 public:
  HostBuffer() = default;
  // Address aligned to 2 MiB from 2 MiB on, else to a page. Nothing is touched yet.
  // Throws OutOfMemoryError with the size asked for and the size available.
  explicit HostBuffer(int64_t bytes, std::string_view purpose = "host memory");
  // One more mapping of the whole of `memory`, which may go before the mapping does. Alignment as above; asks for no
  // memory, only for address space. Throws OutOfMemoryError.
  static HostBuffer map(const SharedMemory& memory);
  HostBuffer(HostBuffer&& other) noexcept;
  HostBuffer& operator=(HostBuffer&& other) noexcept;
  HostBuffer(const HostBuffer&) = delete;
  HostBuffer& operator=(const HostBuffer&) = delete;
  ~HostBuffer();

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  int64_t size() const { return size_; }  // as asked for
  int64_t mapped_bytes() const;           // rounded up to whole pages

  // Makes every page present in this mapping without changing its contents, split over `threads` threads; shared memory
  // gets its huge pages here. Throws OutOfMemoryError.
  void touch(int threads);

 private:
  std::byte* data_ = nullptr;
  int64_t size_ = 0;
  bool shared_ = false;
};

}  // namespace zo2

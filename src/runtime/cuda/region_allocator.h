// Serves LibTorch's own device allocations during an operation from memory that the plan reserved for it: the CUDA
// counterpart of runtime/cpu/region_allocator.h.
#pragma once

#include <cstddef>
#include <cstdint>

namespace zo2::cuda {

// While one is open on a thread, every device allocation that LibTorch makes on it comes from the region, and one that
// does not fit throws InternalError: the arena's size is a promise. With data null LibTorch's caching allocator serves
// and the scope counts. One stream only: nothing waits before memory is used again.
class RegionScope {
 public:
  // `what` names the operation in errors.
  RegionScope(std::byte* data, int64_t bytes, const char* what);
  ~RegionScope();
  RegionScope(const RegionScope&) = delete;
  RegionScope& operator=(const RegionScope&) = delete;

  int64_t used_bytes() const { return used_; }  // asked for so far, each request rounded up to 512

 private:
  friend class RegionAllocator;
  std::byte* data_;
  int64_t capacity_;
  int64_t used_ = 0;
  const char* what_;
  RegionScope* outer_;
};

}  // namespace zo2::cuda

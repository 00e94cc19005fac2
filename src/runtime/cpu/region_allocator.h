// Serves LibTorch's own allocations during an operation from memory that the plan reserved for it.
//
// While a RegionScope is open on a thread, every CPU allocation that LibTorch makes on that thread comes from the
// region, and one that does not fit throws InternalError: the arena's size is a promise. A CountingScope lets the
// default allocator serve and counts: for what libraries keep privately (a GEMM's packed matrices), reported apart.
// Elsewhere LibTorch's default allocator serves as always.
#pragma once

#include <cstddef>
#include <cstdint>

namespace zo2::cpu {

class RegionScope {
 public:
  // `what` names the operation in errors.
  RegionScope(std::byte* data, int64_t bytes, const char* what);
  ~RegionScope();
  RegionScope(const RegionScope&) = delete;
  RegionScope& operator=(const RegionScope&) = delete;

  int64_t used_bytes() const { return used_; }  // asked for so far, each request rounded up to 64

 protected:
  friend class RegionAllocator;
  std::byte* data_;  // null: the default allocator serves
  int64_t capacity_;
  int64_t used_ = 0;
  const char* what_;
  RegionScope* outer_;
};

class CountingScope : public RegionScope {
 public:
  explicit CountingScope(const char* what) : RegionScope(nullptr, 0, what) {}
  ~CountingScope();
};

// The most that any CountingScope has counted in this process.
int64_t library_peak_bytes();

}  // namespace zo2::cpu

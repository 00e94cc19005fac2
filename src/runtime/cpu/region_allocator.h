// Serves LibTorch's own allocations during an operation from memory that the plan reserved for it.
//
// While a RegionScope is open on a thread, every CPU allocation that LibTorch makes on that thread comes from the
// region, and one that does not fit throws InternalError: the arena's size is a promise. A CountingScope lets the
// default allocator serve and counts: for what libraries keep privately (a GEMM's packed matrices), reported apart.
// Elsewhere LibTorch's default allocator serves as always.
#pragma once

#include "runtime/region.h"

namespace zo2::cpu {

class RegionScope : public Region {
 public:
  // `what` names the operation in errors. Each request is rounded up to 64 bytes.
  RegionScope(std::byte* data, int64_t bytes, const char* what);
  ~RegionScope();
  RegionScope(const RegionScope&) = delete;
  RegionScope& operator=(const RegionScope&) = delete;

 private:
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

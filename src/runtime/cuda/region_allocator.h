// Serves LibTorch's own device allocations during an operation from memory that the plan reserved for it: the CUDA
// counterpart of runtime/cpu/region_allocator.h.
#pragma once

#include "runtime/region.h"

namespace zo2::cuda {

// While one is open on a thread, every device allocation that LibTorch makes on it comes from the region, and one that
// does not fit throws InternalError: the arena's size is a promise. With data null LibTorch's caching allocator serves
// and the scope counts. One stream only: nothing waits before memory is used again.
class RegionScope : public Region {
 public:
  // `what` names the operation in errors. Each request is rounded up to 512 bytes.
  RegionScope(std::byte* data, int64_t bytes, const char* what);
  ~RegionScope();
  RegionScope(const RegionScope&) = delete;
  RegionScope& operator=(const RegionScope&) = delete;

 private:
  RegionScope* outer_;
};

}  // namespace zo2::cuda

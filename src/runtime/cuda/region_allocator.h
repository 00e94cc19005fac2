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
  static constexpr int64_t kRegionAlignment = 512;  // each request is rounded up to it, as by the caching allocator
  // The end of a region serves all requests of 16 bytes or less: states of the random generator, which attention asks
  // for (while a graph is captured before anything else) and without dropout neither reads nor writes.
  static constexpr int64_t kScalarsBytes = kRegionAlignment;

  // `what` names the operation in errors.
  RegionScope(std::byte* data, int64_t bytes, const char* what);
  ~RegionScope();
  RegionScope(const RegionScope&) = delete;
  RegionScope& operator=(const RegionScope&) = delete;

  std::byte* scalars() const { return scalars_; }  // null where it only counts

 private:
  std::byte* scalars_;
  RegionScope* outer_;
};

}  // namespace zo2::cuda

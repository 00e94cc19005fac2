// Memory that the plan reserved for one operation of LibTorch's, given out piece by piece. Scopes over it hook into an
// allocator: cpu/region_allocator.h, cuda/region_allocator.h.
#pragma once

#include <cstddef>
#include <cstdint>

namespace zo2 {

class Region {
 public:
  // `data` null: it only counts. `what` names the operation in errors.
  Region(std::byte* data, int64_t bytes, int64_t alignment, const char* what)
      : data_(data), capacity_(bytes), alignment_(alignment), what_(what) {}

  // The next `bytes`, or null where it only counts. Throws InternalError beyond the capacity: the arena's size is a
  // promise.
  std::byte* take(size_t bytes);

  bool holds(const void* data) const { return data_ != nullptr && data >= data_ && data < data_ + capacity_; }

  int64_t used_bytes() const { return used_; }  // taken so far, each piece rounded up to the alignment

 private:
  std::byte* data_;
  int64_t capacity_;
  int64_t alignment_;
  const char* what_;
  int64_t used_ = 0;
};

}  // namespace zo2

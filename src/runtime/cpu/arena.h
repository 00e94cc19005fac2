// The CPU's "device memory": one mapping of the planned size, and a meter of what operations were really handed.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/error.h"
#include "store/host_memory.h"

namespace zo2::cpu {

class Arena {
 public:
  explicit Arena(int64_t bytes) : memory_(bytes, "the device arena") {}

  // Memory [offset, offset + bytes); throws InternalError outside the arena. Any thread.
  std::byte* at(int64_t offset, int64_t bytes) {
    ZO2_ASSERT(offset >= 0 && bytes >= 0 && offset + bytes <= memory_.size());
    int64_t peak = peak_.load(std::memory_order_relaxed);
    while (offset + bytes > peak && !peak_.compare_exchange_weak(peak, offset + bytes, std::memory_order_relaxed)) {
    }
    return memory_.data() + offset;
  }

  int64_t bytes() const { return memory_.size(); }
  int64_t peak_bytes() const { return peak_.load(std::memory_order_relaxed); }

 private:
  HostBuffer memory_;
  std::atomic<int64_t> peak_{0};
};

}  // namespace zo2::cpu

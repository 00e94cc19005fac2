// Entries of the step log as kernels see them, and the pinned results that the host reads.
#pragma once

#include <cstdint>

#include "runtime/entry_values.h"

namespace zo2::cuda {

// What a fold needs of an entry. The ring holds entry (step, pair) at (step * pairs + pair) % kRingEntries.
struct DeviceEntry {
  uint64_t seed;
  float alpha;
  float decay;
  uint32_t step;
  uint32_t pair;
};

inline constexpr uint32_t kRingEntries = 1024;  // pending ones (64 at most) and those of the steps in flight

// The entries of one fold, oldest first: `count` of them from ring position `first`, wrapping.
struct PendingEntries {
  const DeviceEntry* ring;
  uint32_t first;
  uint32_t count;
};

// What `entry` writes to pinned memory for one pair.
struct EntryResult {
  double loss_plus;
  double loss_minus;
  EntryValues values;
};

}  // namespace zo2::cuda

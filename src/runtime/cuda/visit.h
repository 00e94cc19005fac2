// The fused visit and the gather on the device: base + pending entries -> w_t, and w_t +- eps z. Equal to the CPU's
// visit_elements (runtime/cpu/visit.h) to the bit. Asynchronous on the stream given.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"
#include "noise/key.h"
#include "runtime/cuda/entry.h"

namespace zo2::cuda {

// What stays the same from visit to visit.
struct VisitRules {
  DType dtype = DType::f32;
  Distribution noise = Distribution::gaussian;
  bool stochastic = false;
  bool rounded_noise = false;  // every z is rounded to the dtype before use
};

struct Direction {
  uint64_t seed = 0;
  uint32_t pair = 0;
  float eps = 0;
  bool present = false;          // without one, w_t itself goes to the first output
  const std::byte* z = nullptr;  // visits with rounded_noise: [count] of the tile, in the dtype; null: drawn
};

// Elements [offset, offset + count) of a weight hold parameter `id`.
struct VisitSegment {
  int64_t offset = 0;
  int64_t count = 0;
  uint32_t id = 0;
  bool decays = false;
};

struct VisitTile {
  int64_t first_element = 0;  // of the weight
  int64_t count = 0;
  const VisitSegment* segments = nullptr;  // of the weight; on the host
  int segment_count = 0;
  const VisitSegment* device_segments = nullptr;  // the same, on the device
  const std::byte* base = nullptr;                // [count]
  std::byte* commit = nullptr;                    // null, or where w_t goes; may be `base`
  std::byte* out[2] = {nullptr, nullptr};         // [count] each, or null
};

void visit(const VisitRules& rules, const VisitTile& tile, const PendingEntries& pending, const Direction& direction,
           cudaStream_t stream);

// The direction's z of a tile into out [count], in the dtype: what a visit reads as Direction::z. Only the range and
// the segments of the tile matter.
void write_noise(const VisitRules& rules, const VisitTile& tile, uint64_t seed, uint32_t pair, std::byte* out,
                 cudaStream_t stream);

// Rows of a table. Row r is in the tile r / rows_per_tile: at tiles[that], on the device or in mapped host memory;
// where that is null the row was packed by the host into packed[token].
struct GatherTable {
  const std::byte* const* tiles = nullptr;  // on the device
  const std::byte* packed = nullptr;        // [tokens, cols], device-reachable
  int64_t rows_per_tile = 1;
  int64_t cols = 0;
  uint32_t parameter_id = 0;
};

// out[side][token] = or += the folded and perturbed row index_offset + ids[token], or index_offset + token % seq when
// ids is null.
void gather(const VisitRules& rules, const GatherTable& table, const int32_t* ids, int64_t index_offset, int64_t seq,
            int64_t tokens, const PendingEntries& pending, const Direction& direction, bool accumulate,
            std::byte* const (&out)[2], cudaStream_t stream);

// A direction written out, z in `dtype` [count], elements of parameter `id`: the textbook baseline's full-size noise.
void fill_noise(DType dtype, Distribution noise, uint64_t seed, uint32_t parameter_id, int64_t count, std::byte* out,
                cudaStream_t stream);

}  // namespace zo2::cuda

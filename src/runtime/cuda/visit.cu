#include "runtime/cuda/visit.h"

#include <algorithm>

#include "runtime/cuda/dispatch.h"
#include "runtime/cuda/error.h"
#include "runtime/cuda/visit_math.cuh"

namespace zo2::cuda {
namespace {

constexpr int kThreads = 256;

// Perturbs w_t and stores: the tail that visits of every shape share.
template <typename T, int N>
__device__ __forceinline__ void perturb(float eps, const float (&w)[N], const float (&z)[N], Pack<T, N>& plus,
                                        Pack<T, N>& minus) {
#pragma unroll
  for (int i = 0; i < N; ++i) {
    plus.value[i] = from_float<T>(__fmaf_rn(eps, z[i], w[i]));
    minus.value[i] = from_float<T>(__fmaf_rn(-eps, z[i], w[i]));
  }
}

constexpr int kPackThreads = 128;

// Two packs of 8 elements a thread, all of one parameter; pointers to 16 bytes, first_index and count multiples of 8.
// The pair lies kPackThreads packs apart, so that a warp's accesses stay whole lines. Eight blocks a multiprocessor
// hold the registers at 64. Measured against one pack a thread: docs/performance.md, "The visit".
template <typename T, Distribution D, bool kStochastic, bool kRounded>
__global__ void __launch_bounds__(kPackThreads, 8)
    visit_packs(const T* base, T* commit, T* plus, T* minus, int64_t packs, uint64_t first_index,
                FoldParameter parameter, PendingEntries pending, Direction direction) {
  constexpr int M = 2;
  constexpr int N = 8;
  using P = Pack<T, N>;
  const int64_t first = int64_t{blockIdx.x} * M * kPackThreads + threadIdx.x;
  if (first >= packs) return;
  const bool inside[M] = {true, first + kPackThreads < packs};
  const int64_t pack[M] = {first,
                           inside[1] ? first + kPackThreads : first};  // reads the first twice rather than branch
  uint64_t index[M];
  float w[M][N];
#pragma unroll
  for (int m = 0; m < M; ++m) {
    const P in = reinterpret_cast<const P*>(base)[pack[m]];
    index[m] = first_index + static_cast<uint64_t>(pack[m]) * N;
#pragma unroll
    for (int i = 0; i < N; ++i) w[m][i] = to_float(in.value[i]);
  }
  fold<T, D, kRounded>(pending, parameter, kStochastic, index, w);
  if (commit != nullptr || !direction.present) {
#pragma unroll
    for (int m = 0; m < M; ++m) {
      P out;
#pragma unroll
      for (int i = 0; i < N; ++i) out.value[i] = from_float<T>(w[m][i]);
      if (inside[m] && commit != nullptr) reinterpret_cast<P*>(commit)[pack[m]] = out;
      if (inside[m] && !direction.present && plus != nullptr) reinterpret_cast<P*>(plus)[pack[m]] = out;
    }
  }
  if (!direction.present) return;
  float z[M][N];
#pragma unroll
  for (int m = 0; m < M; ++m) {
    if (kRounded && direction.z != nullptr) {
      const P written = reinterpret_cast<const P*>(direction.z)[pack[m]];
#pragma unroll
      for (int i = 0; i < N; ++i) z[m][i] = to_float(written.value[i]);
    } else {
      draw_direction<T, D, kRounded, N>(direction.seed, direction.pair, parameter.id, index[m], z[m]);
    }
  }
#pragma unroll
  for (int m = 0; m < M; ++m) {
    P up;
    P down;
    perturb<T, N>(direction.eps, w[m], z[m], up, down);
    if (inside[m]) reinterpret_cast<P*>(plus)[pack[m]] = up;
    if (inside[m]) reinterpret_cast<P*>(minus)[pack[m]] = down;
  }
}

// Any shape: 4 elements of one parameter a thread (one Philox block), element by element. grid.y is the segment.
template <typename T, Distribution D, bool kStochastic, bool kRounded>
__global__ void __launch_bounds__(kThreads)
    visit_segments(const T* base, T* commit, T* plus, T* minus, int64_t first_element, int64_t count,
                   const VisitSegment* segments, PendingEntries pending, Direction direction) {
  constexpr int N = 4;
  const VisitSegment segment = segments[blockIdx.y];
  const int64_t begin = max(first_element, segment.offset);
  const int64_t end = min(first_element + count, segment.offset + segment.count);
  if (begin >= end) return;
  const int64_t index = (begin - segment.offset) / N * N + (int64_t{blockIdx.x} * kThreads + threadIdx.x) * N;
  const int64_t at = segment.offset + index - first_element;  // of the first of the four, in the tile
  if (segment.offset + index >= end) return;
  float w[N];
  bool inside[N];
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const int64_t element = segment.offset + index + i;
    inside[i] = element >= begin && element < end;
    w[i] = inside[i] ? to_float(base[at + i]) : 0.0f;
  }
  fold<T, D, kRounded, N>(pending, {segment.id, segment.decays}, kStochastic, static_cast<uint64_t>(index), w);
  Pack<T, N> out;
  Pack<T, N> other;
#pragma unroll
  for (int i = 0; i < N; ++i) out.value[i] = from_float<T>(w[i]);
#pragma unroll
  for (int i = 0; i < N; ++i) {
    if (inside[i] && commit != nullptr) commit[at + i] = out.value[i];
    if (inside[i] && !direction.present && plus != nullptr) plus[at + i] = out.value[i];
  }
  if (!direction.present) return;
  float z[N];
  if (kRounded && direction.z != nullptr) {
#pragma unroll
    for (int i = 0; i < N; ++i) z[i] = inside[i] ? to_float(reinterpret_cast<const T*>(direction.z)[at + i]) : 0.0f;
  } else {
    draw_direction<T, D, kRounded, N>(direction.seed, direction.pair, segment.id, static_cast<uint64_t>(index), z);
  }
  perturb<T, N>(direction.eps, w, z, out, other);
#pragma unroll
  for (int i = 0; i < N; ++i) {
    if (inside[i]) plus[at + i] = out.value[i];
    if (inside[i]) minus[at + i] = other.value[i];
  }
}

// N elements of a row a thread; grid.x is the token, grid.y walks the row. N is 8 when rows are whole packs, else 4
// with a ragged end.
template <typename T, Distribution D, bool kStochastic, bool kRounded, int N>
__global__ void __launch_bounds__(kThreads)
    gather_rows(GatherTable table, const int32_t* ids, int64_t index_offset, int64_t seq, PendingEntries pending,
                Direction direction, bool accumulate, T* plus, T* minus) {
  const int64_t token = blockIdx.x;
  const int64_t row = (ids != nullptr ? ids[token] : token % seq) + index_offset;
  const auto first = static_cast<uint64_t>(row * table.cols);
  // Philox blocks do not start at rows when cols is not a multiple of 4.
  const uint64_t index = first / N * N + (uint64_t{blockIdx.y} * blockDim.x + threadIdx.x) * N;
  const uint64_t end = first + static_cast<uint64_t>(table.cols);
  if (index >= end) return;
  const int64_t tile = row / table.rows_per_tile;
  const auto* held = reinterpret_cast<const T*>(table.tiles[tile]);
  const T* base = held != nullptr ? held + (row - tile * table.rows_per_tile) * table.cols
                                  : reinterpret_cast<const T*>(table.packed) + token * table.cols;
  const int64_t col = static_cast<int64_t>(index) - static_cast<int64_t>(first);
  using P = Pack<T, N>;
  float w[N];
  if constexpr (N == 8) {
    const P in = *reinterpret_cast<const P*>(base + col);
#pragma unroll
    for (int i = 0; i < N; ++i) w[i] = to_float(in.value[i]);
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i) w[i] = col + i >= 0 && col + i < table.cols ? to_float(base[col + i]) : 0.0f;
  }
  fold<T, D, kRounded, N>(pending, {table.parameter_id, true}, kStochastic, index, w);
  P side[2];
  if (direction.present) {
    float z[N];
    draw_direction<T, D, kRounded, N>(direction.seed, direction.pair, table.parameter_id, index, z);
    perturb<T, N>(direction.eps, w, z, side[0], side[1]);
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i) side[0].value[i] = from_float<T>(w[i]);
  }
  T* const out[2] = {plus, minus};
#pragma unroll
  for (int s = 0; s < 2; ++s) {
    if (out[s] == nullptr) continue;
    T* target = out[s] + token * table.cols + col;
    if constexpr (N == 8) {
      P* pack = reinterpret_cast<P*>(target);
      if (accumulate) {
        const P old = *pack;
#pragma unroll
        for (int i = 0; i < N; ++i) {
          side[s].value[i] = from_float<T>(__fadd_rn(to_float(old.value[i]), to_float(side[s].value[i])));
        }
      }
      *pack = side[s];
    } else {
#pragma unroll
      for (int i = 0; i < N; ++i) {
        if (col + i < 0 || col + i >= table.cols) continue;
        target[i] =
            accumulate ? from_float<T>(__fadd_rn(to_float(target[i]), to_float(side[s].value[i]))) : side[s].value[i];
      }
    }
  }
}

// z of a tile, as visit_packs and visit_segments go over it.
template <typename T, Distribution D>
__global__ void __launch_bounds__(kThreads)
    noise_packs(T* out, int64_t packs, uint64_t first_index, uint32_t parameter_id, uint64_t seed, uint32_t pair) {
  constexpr int N = 8;
  const int64_t pack = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (pack >= packs) return;
  float z[N];
  draw<D, N>({seed, Purpose::direction, pair, parameter_id, 0}, first_index + static_cast<uint64_t>(pack) * N, z);
  Pack<T, N> rounded;
#pragma unroll
  for (int i = 0; i < N; ++i) rounded.value[i] = from_float<T>(z[i]);
  reinterpret_cast<Pack<T, N>*>(out)[pack] = rounded;
}

template <typename T, Distribution D>
__global__ void __launch_bounds__(kThreads) noise_segments(T* out, int64_t first_element, int64_t count,
                                                           const VisitSegment* segments, uint64_t seed, uint32_t pair) {
  constexpr int N = 4;
  const VisitSegment segment = segments[blockIdx.y];
  const int64_t begin = max(first_element, segment.offset);
  const int64_t end = min(first_element + count, segment.offset + segment.count);
  if (begin >= end) return;
  const int64_t index = (begin - segment.offset) / N * N + (int64_t{blockIdx.x} * kThreads + threadIdx.x) * N;
  if (segment.offset + index >= end) return;
  float z[N];
  draw<D, N>({seed, Purpose::direction, pair, segment.id, 0}, static_cast<uint64_t>(index), z);
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const int64_t element = segment.offset + index + i;
    if (element >= begin && element < end) out[element - first_element] = from_float<T>(z[i]);
  }
}

template <typename T, Distribution D>
__global__ void __launch_bounds__(kThreads)
    write_parameter_noise(uint64_t seed, uint32_t parameter_id, int64_t count, T* out) {
  constexpr int N = 4;
  const int64_t index = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * N;
  if (index >= count) return;
  float z[N];
  draw<D, N>({seed, Purpose::direction, 0, parameter_id, 0}, static_cast<uint64_t>(index), z);
#pragma unroll
  for (int i = 0; i < N; ++i) {
    if (index + i < count) out[index + i] = from_float<T>(z[i]);
  }
}

unsigned blocks_for(int64_t threads, int per_block = kThreads) {
  return static_cast<unsigned>((threads + per_block - 1) / per_block);
}

// Threads of a kernel that goes over a tile in Philox blocks: the tile may begin and end inside one.
dim3 grid_of_segments(const VisitTile& tile) {
  int64_t longest = 0;
  for (int s = 0; s < tile.segment_count; ++s) longest = std::max(longest, tile.segments[s].count);
  return {blocks_for(std::min(longest, tile.count) / 4 + 2), static_cast<unsigned>(tile.segment_count)};
}

bool aligned(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

bool whole_packs(const VisitTile& tile) {
  return tile.segment_count == 1 && tile.first_element % 8 == 0 && tile.count % 8 == 0;
}

}  // namespace

void visit(const VisitRules& rules, const VisitTile& tile, const PendingEntries& pending, const Direction& direction,
           cudaStream_t stream) {
  const bool packs = whole_packs(tile) && aligned(tile.base) && aligned(tile.commit) && aligned(tile.out[0]) &&
                     aligned(tile.out[1]) && aligned(direction.z);
  dispatch(rules, [&]<typename T, Distribution D, bool kStochastic, bool kRounded>() {
    const auto* base = reinterpret_cast<const T*>(tile.base);
    auto* commit = reinterpret_cast<T*>(tile.commit);
    auto* plus = reinterpret_cast<T*>(tile.out[0]);
    auto* minus = reinterpret_cast<T*>(tile.out[1]);
    if (packs) {
      const VisitSegment& segment = tile.segments[0];
      visit_packs<T, D, kStochastic, kRounded>
          <<<blocks_for(tile.count / 8, 2 * kPackThreads), kPackThreads, 0, stream>>>(
              base, commit, plus, minus, tile.count / 8, static_cast<uint64_t>(tile.first_element),
              {segment.id, segment.decays}, pending, direction);
      return;
    }
    visit_segments<T, D, kStochastic, kRounded><<<grid_of_segments(tile), kThreads, 0, stream>>>(
        base, commit, plus, minus, tile.first_element, tile.count, tile.device_segments, pending, direction);
  });
  ZO2_CUDA_CHECK(cudaGetLastError());
}

void write_noise(const VisitRules& rules, const VisitTile& tile, uint64_t seed, uint32_t pair, std::byte* out,
                 cudaStream_t stream) {
  dispatch({rules.dtype, rules.noise, false, true}, [&]<typename T, Distribution D, bool kStochastic, bool kRounded>() {
    if constexpr (!kStochastic && kRounded) {
      auto* z = reinterpret_cast<T*>(out);
      if (whole_packs(tile) && aligned(out)) {
        noise_packs<T, D><<<blocks_for(tile.count / 8), kThreads, 0, stream>>>(
            z, tile.count / 8, static_cast<uint64_t>(tile.first_element), tile.segments[0].id, seed, pair);
      } else {
        noise_segments<T, D><<<grid_of_segments(tile), kThreads, 0, stream>>>(z, tile.first_element, tile.count,
                                                                              tile.device_segments, seed, pair);
      }
    }
  });
  ZO2_CUDA_CHECK(cudaGetLastError());
}

void gather(const VisitRules& rules, const GatherTable& table, const int32_t* ids, int64_t index_offset, int64_t seq,
            int64_t tokens, const PendingEntries& pending, const Direction& direction, bool accumulate,
            std::byte* const (&out)[2], cudaStream_t stream) {
  dispatch(rules, [&]<typename T, Distribution D, bool kStochastic, bool kRounded>() {
    auto* plus = reinterpret_cast<T*>(out[0]);
    auto* minus = reinterpret_cast<T*>(out[1]);
    const bool packs = table.cols % 8 == 0;
    const int64_t threads = packs ? table.cols / 8 : table.cols / 4 + 2;
    const auto block =
        static_cast<int>(std::min<int64_t>(kThreads, (threads + 31) / 32 * 32));  // of a narrow row: less
    const dim3 grid(static_cast<unsigned>(tokens), blocks_for(threads, block));
    if (packs) {
      gather_rows<T, D, kStochastic, kRounded, 8>
          <<<grid, block, 0, stream>>>(table, ids, index_offset, seq, pending, direction, accumulate, plus, minus);
    } else {
      gather_rows<T, D, kStochastic, kRounded, 4>
          <<<grid, block, 0, stream>>>(table, ids, index_offset, seq, pending, direction, accumulate, plus, minus);
    }
  });
  ZO2_CUDA_CHECK(cudaGetLastError());
}

void fill_noise(DType dtype, Distribution noise, uint64_t seed, uint32_t parameter_id, int64_t count, std::byte* out,
                cudaStream_t stream) {
  dispatch({dtype, noise, false, true}, [&]<typename T, Distribution D, bool kStochastic, bool kRounded>() {
    if constexpr (!kStochastic && kRounded) {
      write_parameter_noise<T, D>
          <<<blocks_for((count + 3) / 4), kThreads, 0, stream>>>(seed, parameter_id, count, reinterpret_cast<T*>(out));
    }
  });
  ZO2_CUDA_CHECK(cudaGetLastError());
}

}  // namespace zo2::cuda

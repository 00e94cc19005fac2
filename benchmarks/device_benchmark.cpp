// What bounds a step on the device: the fused visit, products into column panels, and the embedding gather from host
// memory. Times are the device's, by events.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <functional>
#include <vector>

#include "base/bytes.h"
#include "runtime/cuda/gemm.h"
#include "runtime/cuda/visit.h"
#include "runtime/device.h"
#include "store/host_memory.h"
#include "store/parallel.h"

namespace {

using namespace zo2;

// Runs `enqueue` 16 times an iteration between two events.
void measure(benchmark::State& state, double items, const char* unit, const std::function<void(int)>& enqueue) {
  constexpr int kTimes = 16;
  cuda::Event begin(true);
  cuda::Event end(true);
  for (int i = 0; i < kTimes; ++i) enqueue(i);
  double ms = 0;
  for (auto _ : state) {
    begin.record(nullptr);
    for (int i = 0; i < kTimes; ++i) enqueue(i);
    end.record(nullptr);
    end.synchronize();
    const double once = static_cast<double>(end.ms_since(begin));
    ms += once;
    state.SetIterationTime(once * 1e-3 / kTimes);
  }
  state.counters[unit] = items * kTimes * static_cast<double>(state.iterations()) / ms * 1e3;
}

bool no_device(benchmark::State& state) {
  const std::string reason = why_no_cuda();
  if (!reason.empty()) state.SkipWithError(reason.c_str());
  return !reason.empty();
}

constexpr int kSets = 8;  // buffers in turn, more than the L2 cache holds

cuda::DeviceBuffer random_on_device(int64_t elements) {
  cuda::DeviceBuffer buffer(elements * 2, "the benchmark");
  cuda::fill_noise(DType::f16, Distribution::gaussian, 1, 1, elements, buffer.data(), nullptr);
  return buffer;
}

// A tile in fp16 that commits: one read and three writes of 2 bytes an element, pending + 1 draws.
void visit(benchmark::State& state, Distribution noise, bool stochastic) {
  if (no_device(state)) return;
  const int64_t count = state.range(0) * kMiB / 2;
  const cuda::DeviceBuffer buffers = random_on_device(3 * kSets * count);
  std::vector<cuda::DeviceEntry> entries(cuda::kRingEntries);
  for (uint32_t i = 0; i < cuda::kRingEntries; ++i) entries[i] = {i * 77 + 1, 1e-4f, 0.999f, i, 0};
  const cuda::DeviceBuffer ring(static_cast<int64_t>(entries.size() * sizeof(cuda::DeviceEntry)), "the benchmark");
  ZO2_CUDA_CHECK(cudaMemcpy(ring.data(), entries.data(), static_cast<size_t>(ring.size()), cudaMemcpyHostToDevice));
  const cuda::VisitSegment segment{0, count, 7, true};
  const cuda::PendingEntries pending{reinterpret_cast<const cuda::DeviceEntry*>(ring.data()), 3,
                                     static_cast<uint32_t>(state.range(1))};
  measure(state, static_cast<double>(count), "params/s", [&](int i) {
    std::byte* base = buffers.data() + i % kSets * 3 * count * 2;
    cuda::VisitTile tile;
    tile.count = count;
    tile.segments = &segment;
    tile.segment_count = 1;
    tile.base = tile.commit = base;
    tile.out[0] = base + count * 2;
    tile.out[1] = base + count * 4;
    cuda::visit({DType::f16, noise, stochastic}, tile, pending, {99, 0, 1e-3f, true}, nullptr);
  });
}

void visit_sizes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"MiB", "pending"})->UseManualTime()->MinTime(0.05)->ArgsProduct({{8, 20, 48}, {0, 1, 4, 8}});
}
BENCHMARK_CAPTURE(visit, gaussian, Distribution::gaussian, false)->Apply(visit_sizes);
BENCHMARK_CAPTURE(visit, rademacher, Distribution::rademacher, false)->Apply(visit_sizes);
BENCHMARK_CAPTURE(visit, gaussian_stochastic, Distribution::gaussian, true)->Apply(visit_sizes);

// [tokens, in] x [panel, in]^T into columns of a [tokens, 4 x panel] buffer, with bias.
void gemm(benchmark::State& state, bool relu, bool accumulate) {
  if (no_device(state)) return;
  cuda::GemmShape shape;
  shape.rows = state.range(0);
  shape.in_cols = state.range(1);
  shape.out_cols = state.range(2);
  shape.stride = 4 * shape.out_cols;
  shape.column = shape.out_cols;
  shape.bias = true;
  shape.relu = relu;
  shape.accumulate = accumulate;
  cuda::Gemm gemm;
  const cuda::DeviceBuffer in = random_on_device(shape.rows * shape.in_cols);
  const cuda::DeviceBuffer weights = random_on_device(shape.out_cols * shape.in_cols);
  const cuda::DeviceBuffer out = random_on_device(shape.rows * shape.stride);
  measure(state, 2.0 * static_cast<double>(shape.rows * shape.in_cols * shape.out_cols), "flop/s", [&](int) {
    gemm.run(shape, in.data(), weights.data(), weights.data(), out.data() + shape.column * 2, nullptr);
  });
}

void panels(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"tokens", "in", "panel"})->UseManualTime()->MinTime(0.05);
  benchmark->ArgsProduct({{2048, 16384}, {4096, 16384}, {512, 1024, 2048, 4096}});
}
BENCHMARK_CAPTURE(gemm, relu, true, false)->Apply(panels);
BENCHMARK_CAPTURE(gemm, residual, false, true)->Apply(panels);

// The rows of 2,048 tokens from a table of 50,272 rows of 5,120: read by the kernel where they lie in page-locked host
// memory, or packed there by CPU threads first (the copy counted too).
void gather(benchmark::State& state, bool packed) {
  if (no_device(state)) return;
  constexpr int64_t kRows = 50272;
  constexpr int64_t kCols = 5120;
  constexpr int64_t kTokens = 2048;
  HostBuffer table(kRows * kCols * 2, "the benchmark");
  table.touch(hardware_threads());
  const cuda::HostRegistration registration(table.data(), table.size(), "the benchmark");
  const cuda::PinnedBuffer packed_rows(kTokens * kCols * 2);
  std::vector<int32_t> ids;
  for (int64_t token = 0; token < kTokens; ++token) ids.push_back(static_cast<int32_t>(token * 7919 % kRows));
  const cuda::DeviceBuffer device_ids(kTokens * 4, "the benchmark");
  ZO2_CUDA_CHECK(cudaMemcpy(device_ids.data(), ids.data(), kTokens * 4, cudaMemcpyHostToDevice));
  const std::byte* tiles[1] = {packed ? nullptr : table.data()};
  const cuda::DeviceBuffer device_tiles(sizeof(tiles), "the benchmark");
  ZO2_CUDA_CHECK(cudaMemcpy(device_tiles.data(), tiles, sizeof(tiles), cudaMemcpyHostToDevice));
  const cuda::DeviceBuffer out(2 * kTokens * kCols * 2, "the benchmark");
  cuda::GatherTable gathered;
  gathered.tiles = reinterpret_cast<const std::byte* const*>(device_tiles.data());
  gathered.packed = packed_rows.as();
  gathered.rows_per_tile = kRows;
  gathered.cols = kCols;
  std::byte* const sides[2] = {out.data(), out.data() + kTokens * kCols * 2};
  for (auto _ : state) {
    if (packed) {
      parallel_for(8, kTokens, [&](int64_t token) {
        std::memcpy(packed_rows.as() + token * kCols * 2, table.data() + ids[static_cast<size_t>(token)] * kCols * 2,
                    kCols * 2);
      });
    }
    cuda::gather({DType::f16, Distribution::gaussian, false}, gathered,
                 reinterpret_cast<const int32_t*>(device_ids.data()), 0, kTokens, kTokens, {nullptr, 0, 0},
                 {99, 0, 1e-3f, true}, false, sides, nullptr);
    cuda::synchronize_device();
  }
  state.counters["bytes/s"] =
      benchmark::Counter(static_cast<double>(state.iterations() * kTokens * kCols * 2), benchmark::Counter::kIsRate);
}
BENCHMARK_CAPTURE(gather, zero_copy, false)->UseRealTime();
BENCHMARK_CAPTURE(gather, packed, true)->UseRealTime();

}  // namespace

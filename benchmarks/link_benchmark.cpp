// Bandwidth between registered host memory and the device: up, down, and both at once, in copies of a tile's size.
// Arguments: MiB a copy; streams a direction (copies alternate); GiB of host memory that the copies walk through; 1 to
// put an event between copies that the next one waits for, as an executor does. Rates are GB/s (1e9 bytes) up and down,
// from device events.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <memory>
#include <vector>

#include "base/bytes.h"
#include "runtime/cuda/resources.h"
#include "runtime/device.h"
#include "store/host_memory.h"
#include "store/parallel.h"

namespace {

using zo2::kGiB;
using zo2::kMiB;

// Registered host memory, kept between benchmarks that ask for the same.
struct HostArea {
  int64_t gib = 0;
  zo2::HostBuffer memory;
  std::unique_ptr<zo2::cuda::HostRegistration> registration;
};

HostArea& host_area(int64_t gib) {
  static HostArea area;
  if (area.gib != gib) {
    area.registration.reset();
    area.memory = {};
    area.memory = zo2::HostBuffer(gib * kGiB, "the benchmark");
    area.memory.touch(zo2::hardware_threads());
    area.registration = std::make_unique<zo2::cuda::HostRegistration>(area.memory.data(), gib * kGiB, "the benchmark");
    area.gib = gib;
  }
  return area;
}

void link(benchmark::State& state, bool up, bool down) {
  if (const std::string reason = zo2::why_no_cuda(); !reason.empty()) return state.SkipWithError(reason.c_str());
  const int64_t bytes = state.range(0) * kMiB;
  const int64_t streams = state.range(1);
  HostArea& area = host_area(state.range(2));
  const bool events = state.range(3) != 0;
  constexpr int64_t kSlots = 4;
  const zo2::cuda::DeviceBuffer device(2 * kSlots * bytes, "the benchmark");
  std::vector<zo2::cuda::Stream> lanes(static_cast<size_t>(2 * streams));
  const int64_t places = area.memory.size() / bytes;
  const int64_t copies = std::max<int64_t>(8, 2 * kGiB / bytes);  // a direction, in one measurement
  int64_t at = 0;
  zo2::cuda::Event begin(true);
  std::vector<zo2::cuda::Event> ends;
  for (size_t i = 0; i < lanes.size(); ++i) ends.emplace_back(true);
  std::vector<zo2::cuda::Event> between;
  for (int i = 0; i < 2; ++i) between.emplace_back();
  double up_ms = 0;
  double down_ms = 0;
  for (auto _ : state) {
    begin.record(lanes[0]);
    for (auto& lane : lanes) begin.wait_on(lane);
    for (int64_t copy = 0; copy < copies; ++copy, ++at) {
      std::byte* host = area.memory.data() + at % places * bytes;
      std::byte* host_down = area.memory.data() + (at + places / 2) % places * bytes;
      const auto lane = static_cast<size_t>(copy % streams);
      zo2::cuda::Event& before = between[static_cast<size_t>(copy % 2)];
      if (events && copy > 1) {
        before.wait_on(lanes[2 * lane]);
        before.wait_on(lanes[2 * lane + 1]);
      }
      if (up) {
        ZO2_CUDA_CHECK(cudaMemcpyAsync(device.data() + copy % kSlots * bytes, host, static_cast<size_t>(bytes),
                                       cudaMemcpyHostToDevice, lanes[2 * lane]));
      }
      if (down) {
        ZO2_CUDA_CHECK(cudaMemcpyAsync(host_down, device.data() + (kSlots + copy % kSlots) * bytes,
                                       static_cast<size_t>(bytes), cudaMemcpyDeviceToHost, lanes[2 * lane + 1]));
      }
      if (events) before.record(lanes[2 * lane + (up ? 0 : 1)]);
    }
    for (size_t i = 0; i < lanes.size(); ++i) ends[i].record(lanes[i]);
    zo2::cuda::synchronize_device();
    double up_once = 0;
    double down_once = 0;
    for (size_t i = 0; i < lanes.size(); ++i) {
      double& longest = i % 2 == 0 ? up_once : down_once;
      longest = std::max(longest, static_cast<double>(ends[i].ms_since(begin)));
    }
    up_ms += up_once;
    down_ms += down_once;
    state.SetIterationTime(std::max(up ? up_once : 0, down ? down_once : 0) * 1e-3);
  }
  const auto moved = static_cast<double>(state.iterations() * copies * bytes);
  state.counters["up_GBps"] = up ? moved / up_ms * 1e-6 : 0;
  state.counters["down_GBps"] = down ? moved / down_ms * 1e-6 : 0;
}

void arguments(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"MiB", "streams", "GiB", "events"})->UseManualTime()->Iterations(5);
  for (int64_t gib : {2, 24}) {
    for (int64_t events : {0, 1}) {
      for (int64_t streams : {1, 2}) {
        for (int64_t mib : {8, 16, 32, 48}) benchmark->Args({mib, streams, gib, events});
      }
    }
  }
}

BENCHMARK_CAPTURE(link, up, true, false)->Apply(arguments);
BENCHMARK_CAPTURE(link, down, false, true)->Apply(arguments);
BENCHMARK_CAPTURE(link, both, true, true)->Apply(arguments);

}  // namespace

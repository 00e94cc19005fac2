// Elements a second and core that fill_noise and fill_bits make at each instruction set (items_per_second).
// Arguments: elements a call. 2,048 is a row of a small model and stays in the first cache level; 16 Mi elements go to
// memory.
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "noise/noise.h"
#include "noise/simd.h"

namespace {

using zo2::SimdLevel;

// Sets the level for one benchmark and restores the machine's best after it.
class ForcedLevel {
 public:
  explicit ForcedLevel(SimdLevel level) { zo2::force_simd_level(level); }
  ~ForcedLevel() { zo2::force_simd_level(zo2::best_simd_level()); }
};

constexpr zo2::NoiseKey kKey = {.seed = 42, .purpose = zo2::Purpose::direction, .pair = 0, .parameter_id = 7};

template <class T, class Fill>
void run(benchmark::State& state, SimdLevel level, Fill fill) {
  const ForcedLevel forced(level);
  std::vector<T> out(static_cast<size_t>(state.range(0)));
  int64_t first = 0;
  for (auto _ : state) {
    fill(first, std::span<T>(out));
    benchmark::DoNotOptimize(out.data());
    benchmark::ClobberMemory();
    first += state.range(0);
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

const bool kRegistered = [] {
  for (int i = 0; i <= static_cast<int>(zo2::best_simd_level()); ++i) {
    const auto level = static_cast<SimdLevel>(i);
    const std::string name(zo2::simd_level_name(level));
    for (const auto distribution : {zo2::Distribution::gaussian, zo2::Distribution::rademacher}) {
      const auto fill = [distribution](int64_t first, std::span<float> out) {
        zo2::fill_noise(distribution, kKey, first, out);
      };
      benchmark::RegisterBenchmark((std::string(zo2::distribution_name(distribution)) + "/" + name).c_str(),
                                   [=](benchmark::State& state) { run<float>(state, level, fill); })
          ->Arg(2048)
          ->Arg(1 << 24);
    }
    const auto fill = [](int64_t first, std::span<uint32_t> out) { zo2::fill_bits(kKey, first, out); };
    benchmark::RegisterBenchmark(("bits/" + name).c_str(),
                                 [=](benchmark::State& state) { run<uint32_t>(state, level, fill); })
        ->Arg(2048)
        ->Arg(1 << 24);
  }
  return true;
}();

}  // namespace

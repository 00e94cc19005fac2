// Elements a second and core that visit_elements makes (items_per_second): base and pending entries to W+ and W-.
// Arguments: elements a call and pending entries. 16 Ki elements stay in the second cache level; 4 Mi go to memory.
// An element takes (pending + 1) random draws.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <string>
#include <vector>

#include "base/convert.h"
#include "runtime/cpu/visit.h"

namespace {

void visit(benchmark::State& state, zo2::DType dtype, zo2::Distribution noise) {
  const int64_t count = state.range(0);
  zo2::ParameterTable table;
  table.add({7, "matrix", count / 1024, 1024});
  zo2::ExecutorSettings settings;
  settings.noise = noise;
  const zo2::FoldRules rules{&table, dtype, &settings};
  std::vector<zo2::LogEntry> pending(static_cast<size_t>(state.range(1)));
  for (size_t i = 0; i < pending.size(); ++i) {
    pending[i].step = static_cast<uint32_t>(i);
    pending[i].seed = i;
    pending[i].alpha = 1e-4f;
  }
  const auto bytes = static_cast<size_t>(count * zo2::dtype_bytes(dtype));
  std::vector<std::byte> base(bytes), plus(bytes), minus(bytes);
  zo2::from_float(dtype, std::vector<float>(static_cast<size_t>(count), 0.02f), base.data());
  zo2::Direction direction{42, 0, 1e-3f};
  for (auto _ : state) {
    ++direction.seed;
    zo2::visit_elements(rules, 0, 0, count, base.data(), pending, &direction, {nullptr, {plus.data(), minus.data()}});
    benchmark::DoNotOptimize(plus.data());
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * count);
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(3 * bytes));
}

const bool kRegistered = [] {
  for (const auto dtype : {zo2::DType::f32, zo2::DType::f16, zo2::DType::bf16}) {
    for (const auto noise : {zo2::Distribution::gaussian, zo2::Distribution::rademacher}) {
      const std::string name = fmt::format("visit/{}/{}", zo2::dtype_name(dtype), zo2::distribution_name(noise));
      benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) { visit(state, dtype, noise); })
          ->ArgNames({"elements", "pending"})
          ->ArgsProduct({{1 << 14, 1 << 22}, {0, 1, 4, 8}});
    }
  }
  return true;
}();

}  // namespace

// The device's visit and gather against the CPU's, to the bit.
#include "runtime/cuda/visit.h"

#include <fmt/format.h>

#include "runtime/cpu/kernels.h"
#include "runtime/cpu/visit.h"
#include "runtime/cuda/testing.h"

namespace zo2 {
namespace {

using namespace zo2::testing;

using CudaVisit = CudaTest;

// A matrix with whole packs (in its last block some threads have two packs and some have one), one
// without, and packed vectors whose borders fall inside Philox blocks.
ParameterTable visit_table() {
  ParameterTable table;
  table.add({70, "even", 66, 72});
  table.add({71, "odd", 41, 67});
  table.add_packed("vectors", {{72, "x", 1, 50, ParameterKind::vector},
                               {73, "y", 1, 2051, ParameterKind::vector},
                               {74, "z", 1, 7, ParameterKind::vector}});
  return table;
}

// Entries of `steps` steps with one pair; one of them changes nothing.
std::vector<LogEntry> entries_of(int steps) {
  std::vector<LogEntry> entries;
  for (int step = 0; step < steps; ++step) {
    LogEntry entry;
    entry.step = static_cast<uint32_t>(1020 + step);  // the ring wraps at 1,024
    entry.seed = seed_at(5, static_cast<uint64_t>(step));
    entry.alpha = 0.01f * static_cast<float>(step - 1);
    entry.decay = step == 1 ? 1.0f : 0.98f;
    entries.push_back(entry);
  }
  return entries;
}

std::vector<std::byte> ring_of(const std::vector<LogEntry>& entries) {
  std::vector<cuda::DeviceEntry> ring(cuda::kRingEntries);
  for (const LogEntry& entry : entries) {
    ring[entry.step % cuda::kRingEntries] = {entry.seed, entry.alpha, entry.decay, entry.step, entry.pair};
  }
  return bytes_of(ring);
}

cuda::PendingEntries pending_in(const OnDevice& ring, const std::vector<LogEntry>& entries) {
  return {reinterpret_cast<const cuda::DeviceEntry*>(ring.data()),
          entries.empty() ? 0 : entries.front().step % cuda::kRingEntries, static_cast<uint32_t>(entries.size())};
}

struct Case {
  DType dtype;
  Distribution noise;
  Rounding rounding;
};

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (DType dtype : kAllDTypes) {
    for (Distribution noise : {Distribution::gaussian, Distribution::rademacher}) {
      for (Rounding rounding : {Rounding::nearest, Rounding::stochastic}) cases.push_back({dtype, noise, rounding});
    }
  }
  return cases;
}

std::string name_of(const Case& c) {
  return fmt::format("{} {} {}", dtype_name(c.dtype), distribution_name(c.noise), static_cast<int>(c.rounding));
}

TEST_F(CudaVisit, EqualsTheCpuToTheBit) {
  const ParameterTable table = visit_table();
  for (const Case& c : all_cases()) {
    ExecutorSettings settings;
    settings.noise = c.noise;
    settings.rounding = c.rounding;
    settings.eps = 1e-2f;
    const FoldRules rules{&table, c.dtype, &settings};
    for (int weight = 0; weight < 3; ++weight) {
      const Weight& held = table.weights[weight];
      std::vector<cuda::VisitSegment> segments;
      for (const Segment& segment : held.segments) {
        const Parameter& parameter = table.parameters[segment.parameter];
        segments.push_back({segment.offset, parameter.count(), parameter.id, parameter.decays()});
      }
      const OnDevice device_segments(bytes_of(segments));
      const int64_t rows_first = held.rows / 3;
      const int64_t rows = held.rows == 1 ? 1 : held.rows - rows_first - 1;
      const int64_t first = rows_first * held.cols;
      const int64_t count = rows * held.cols;
      // Spread over fp16's subnormals too.
      const std::vector<std::byte> base = random_elements(c.dtype, count, 3, weight == 1 ? 1e-5f : 0.05f);
      for (int steps : {0, 1, 3, 8}) {
        const std::vector<LogEntry> entries = entries_of(steps);
        const OnDevice ring(ring_of(entries));
        for (bool perturbed : {true, false}) {
          for (bool commit : {true, false}) {
            SCOPED_TRACE(fmt::format("{} weight {} pending {} perturbed {} commit {}", name_of(c), weight, steps,
                                     perturbed, commit));
            std::vector<std::byte> host_base = base;
            std::vector<std::byte> plus(base.size());
            std::vector<std::byte> minus(base.size());
            const Direction direction{77, 0, settings.eps};
            VisitOutput output;
            output.out[0] = plus.data();
            if (perturbed) output.out[1] = minus.data();
            if (commit) output.base = host_base.data();
            visit_elements(rules, weight, first, count, host_base.data(), entries, perturbed ? &direction : nullptr,
                           output);
            const OnDevice device_base(base);
            const OnDevice device_plus(base.size());
            const OnDevice device_minus(base.size());
            cuda::VisitTile tile;
            tile.first_element = first;
            tile.count = count;
            tile.segments = segments.data();
            tile.segment_count = static_cast<int>(segments.size());
            tile.device_segments = reinterpret_cast<const cuda::VisitSegment*>(device_segments.data());
            tile.base = device_base.data();
            if (commit) tile.commit = device_base.data();
            tile.out[0] = device_plus.data();
            if (perturbed) tile.out[1] = device_minus.data();
            cuda::visit({c.dtype, c.noise, c.rounding == Rounding::stochastic}, tile, pending_in(ring, entries),
                        {77, 0, settings.eps, perturbed}, nullptr);
            cuda::synchronize_device();
            ASSERT_EQ(device_base.read(), host_base);
            ASSERT_EQ(device_plus.read(), plus);
            if (perturbed) {
              ASSERT_EQ(device_minus.read(), minus);
            }
          }
        }
      }
    }
  }
}

TEST_F(CudaVisit, GatherEqualsTheCpuToTheBit) {
  constexpr int64_t kRows = 30;
  constexpr int64_t kRowsPerTile = 8;
  const std::vector<int32_t> ids{3, 29, 0, 7, 8, 3, 15, 16, 22};
  for (int64_t cols : {72, 35}) {
    ParameterTable table;
    table.add({9, "table", kRows, cols, ParameterKind::table});
    for (const Case& c : all_cases()) {
      ExecutorSettings settings;
      settings.noise = c.noise;
      settings.rounding = c.rounding;
      settings.eps = 1e-2f;
      const FoldRules rules{&table, c.dtype, &settings};
      const int64_t row_bytes = cols * dtype_bytes(c.dtype);
      const std::vector<std::byte> base = random_elements(c.dtype, kRows * cols, 4, 0.05f);
      const auto tokens = static_cast<int64_t>(ids.size());
      const std::vector<std::byte> before = random_elements(c.dtype, tokens * cols, 5, 0.05f);
      // Tiles on the device but for the second, whose rows the host has packed.
      const OnDevice on_device(base);
      std::vector<const std::byte*> tiles;
      for (int64_t row = 0; row < kRows; row += kRowsPerTile) tiles.push_back(on_device.data() + row * row_bytes);
      tiles[1] = nullptr;
      std::vector<std::byte> packed(static_cast<size_t>(tokens * row_bytes), std::byte{0});
      for (int64_t token = 0; token < tokens; ++token) {
        if (ids[token] / kRowsPerTile != 1) continue;
        std::memcpy(packed.data() + token * row_bytes, base.data() + ids[token] * row_bytes,
                    static_cast<size_t>(row_bytes));
      }
      const OnDevice device_tiles(bytes_of(tiles));
      const OnDevice device_packed(packed);
      const OnDevice device_ids(bytes_of(ids));
      for (int steps : {0, 3}) {
        const std::vector<LogEntry> entries = entries_of(steps);
        const OnDevice ring(ring_of(entries));
        for (bool accumulate : {false, true}) {
          SCOPED_TRACE(fmt::format("{} cols {} pending {} accumulate {}", name_of(c), cols, steps, accumulate));
          std::vector<std::byte> expected[2] = {before, before};
          const Direction direction{77, 0, settings.eps};
          for (int64_t token = 0; token < tokens; ++token) {
            std::vector<std::byte> rows[2] = {std::vector<std::byte>(static_cast<size_t>(row_bytes)),
                                              std::vector<std::byte>(static_cast<size_t>(row_bytes))};
            VisitOutput output;
            for (int side = 0; side < 2; ++side) output.out[side] = rows[side].data();
            visit_elements(rules, 0, ids[token] * cols, cols, base.data() + ids[token] * row_bytes, entries, &direction,
                           output);
            for (int side = 0; side < 2; ++side) {
              std::byte* target = expected[side].data() + token * row_bytes;
              if (accumulate) {
                cpu::add_rows(c.dtype, target, rows[side].data(), cols);
              } else {
                std::memcpy(target, rows[side].data(), static_cast<size_t>(row_bytes));
              }
            }
          }
          const OnDevice plus(before);
          const OnDevice minus(before);
          cuda::GatherTable gathered;
          gathered.tiles = reinterpret_cast<const std::byte* const*>(device_tiles.data());
          gathered.packed = device_packed.data();
          gathered.rows_per_tile = kRowsPerTile;
          gathered.cols = cols;
          gathered.parameter_id = 9;
          std::byte* out[2] = {plus.data(), minus.data()};
          cuda::gather({c.dtype, c.noise, c.rounding == Rounding::stochastic}, gathered,
                       reinterpret_cast<const int32_t*>(device_ids.data()), 0, tokens, tokens,
                       pending_in(ring, entries), {77, 0, settings.eps, true}, accumulate, out, nullptr);
          cuda::synchronize_device();
          ASSERT_EQ(plus.read(), expected[0]);
          ASSERT_EQ(minus.read(), expected[1]);
        }
      }
    }
  }
}

TEST_F(CudaVisit, WritesTheDirectionThatTheCpuDraws) {
  for (Distribution noise : {Distribution::gaussian, Distribution::rademacher}) {
    std::vector<float> z(10007);
    fill_noise(noise, {123, Purpose::direction, 0, 5, 0}, 0, z);
    const OnDevice out(z.size() * 4);
    cuda::fill_noise(DType::f32, noise, 123, 5, static_cast<int64_t>(z.size()), out.data(), nullptr);
    cuda::synchronize_device();
    EXPECT_EQ(out.read_as<float>(), z);
  }
}

}  // namespace
}  // namespace zo2

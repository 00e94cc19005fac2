// The fused visit against a plain loop over elements, to the bit.
#include "runtime/cpu/visit.h"

#include <cmath>
#include <cstring>
#include <vector>

#include "base/convert.h"
#include "program/testing.h"

namespace zo2 {
namespace {

using namespace zo2::testing;

constexpr DType kDTypes[] = {DType::f32, DType::f16, DType::bf16};

// A matrix of more than two blocks, and three vectors whose borders fall inside blocks.
ParameterTable visit_table() {
  ParameterTable table;
  table.add({70, "matrix", 41, 67});
  table.add_packed("vectors", {{71, "x", 1, 50, ParameterKind::vector},
                               {72, "y", 1, 2051, ParameterKind::vector},
                               {73, "z", 1, 7, ParameterKind::vector}});
  return table;
}

std::vector<std::byte> random_weights(DType dtype, int64_t count, uint64_t seed) {
  std::vector<float> values(static_cast<size_t>(count));
  fill_noise(Distribution::gaussian, {seed, Purpose::initial_weights, 0, 1, 0}, 0, values);
  for (float& value : values) value *= 0.05f;
  std::vector<std::byte> bytes(static_cast<size_t>(count * dtype_bytes(dtype)));
  from_float(dtype, values, bytes.data());
  return bytes;
}

std::vector<float> floats_of(DType dtype, const std::vector<std::byte>& bytes) {
  std::vector<float> values(bytes.size() / static_cast<size_t>(dtype_bytes(dtype)));
  to_float(dtype, bytes.data(), values);
  return values;
}

LogEntry make_entry(uint32_t step, uint16_t pair, float alpha, float decay) {
  LogEntry entry;
  entry.step = step;
  entry.pair = pair;
  entry.seed = 1000 + step;
  entry.alpha = alpha;
  entry.decay = decay;
  return entry;
}

// `steps` steps of `pairs` entries; only pair 0 decays.
std::vector<LogEntry> make_entries(int steps, int pairs) {
  std::vector<LogEntry> entries;
  for (int step = 0; step < steps; ++step) {
    for (int pair = 0; pair < pairs; ++pair) {
      entries.push_back(make_entry(static_cast<uint32_t>(20 + step), static_cast<uint16_t>(pair),
                                   0.003f * static_cast<float>(step + 1) - 0.005f * static_cast<float>(pair),
                                   pair == 0 ? 0.99f : 1.0f));
    }
  }
  return entries;
}

struct Expected {
  std::vector<float> w, plus, minus;
};

// The definition, an element at a time.
Expected by_hand(const ParameterTable& table, int weight, DType dtype, const ExecutorSettings& settings,
                 const std::vector<float>& base, const std::vector<LogEntry>& pending, const Direction& direction) {
  Expected result{base, base, base};
  for (const Segment& segment : table.weights[static_cast<size_t>(weight)].segments) {
    const Parameter& parameter = table.parameters[static_cast<size_t>(segment.parameter)];
    const auto draw = [&](uint64_t seed, uint32_t pair) {
      std::vector<float> z(static_cast<size_t>(parameter.count()));
      fill_noise(settings.noise, {seed, Purpose::direction, pair, parameter.id, 0}, 0, z);
      return z;
    };
    std::vector<std::vector<float>> old_z;
    for (const LogEntry& entry : pending) old_z.push_back(draw(entry.seed, entry.pair));
    const std::vector<float> z = draw(direction.seed, direction.pair);
    std::vector<uint32_t> bits(static_cast<size_t>(parameter.count()));
    if (!pending.empty()) {
      fill_bits({pending.back().seed, Purpose::rounding, 0, parameter.id, pending.back().step}, 0, bits);
    }
    for (size_t i = 0; i < z.size(); ++i) {
      const size_t at = static_cast<size_t>(segment.offset) + i;
      float w = base[at];
      for (size_t e = 0; e < pending.size(); ++e) {
        const float decay = parameter.kind == ParameterKind::vector ? 1.0f : pending[e].decay;
        const float decayed = w * decay;
        w = std::fma(-pending[e].alpha, old_z[e][i], decayed);
      }
      if (settings.rounding == Rounding::stochastic && !pending.empty()) {
        round_stochastically(dtype, std::span(&bits[i], 1), std::span(&w, 1));
      }
      w = round_to(dtype, w);
      result.w[at] = w;
      result.plus[at] = round_to(dtype, std::fma(direction.eps, z[i], w));
      result.minus[at] = round_to(dtype, std::fma(-direction.eps, z[i], w));
    }
  }
  return result;
}

TEST(Visit, EqualsAPlainLoopToTheBit) {
  const ParameterTable table = visit_table();
  for (DType dtype : kDTypes) {
    for (Distribution noise : {Distribution::gaussian, Distribution::rademacher}) {
      for (Rounding rounding : {Rounding::nearest, Rounding::stochastic}) {
        for (auto [steps, pairs] : {std::pair{0, 1}, {1, 1}, {5, 1}, {3, 2}}) {
          ExecutorSettings settings;
          settings.noise = noise;
          settings.rounding = rounding;
          const FoldRules rules{&table, dtype, &settings};
          const std::vector<LogEntry> pending = make_entries(steps, pairs);
          for (int weight = 0; weight < 2; ++weight) {
            const int64_t count = table.weights[static_cast<size_t>(weight)].count();
            const std::vector<std::byte> base = random_weights(dtype, count, 3);
            const Direction direction{77, 5, 1e-3f};
            std::vector<std::byte> w(base.size()), plus(base.size()), minus(base.size());
            visit_elements(rules, weight, 0, count, base.data(), pending, &direction,
                           {w.data(), {plus.data(), minus.data()}});
            const Expected expected =
                by_hand(table, weight, dtype, settings, floats_of(dtype, base), pending, direction);
            EXPECT_EQ(floats_of(dtype, w), expected.w);
            EXPECT_EQ(floats_of(dtype, plus), expected.plus);
            EXPECT_EQ(floats_of(dtype, minus), expected.minus);
          }
        }
      }
    }
  }
}

TEST(Visit, AnySplitIntoRangesGivesTheSame) {
  const uint64_t seed = random_seed();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  const ParameterTable table = visit_table();
  for (DType dtype : kDTypes) {
    for (Distribution noise : {Distribution::gaussian, Distribution::rademacher}) {
      ExecutorSettings settings;
      settings.noise = noise;
      settings.rounding = Rounding::stochastic;
      const FoldRules rules{&table, dtype, &settings};
      const std::vector<LogEntry> pending = make_entries(2, 2);
      const Direction direction{9, 0, 1e-2f};
      for (int weight = 0; weight < 2; ++weight) {
        const int64_t count = table.weights[static_cast<size_t>(weight)].count();
        const std::vector<std::byte> base = random_weights(dtype, count, seed);
        const auto visit = [&](std::vector<std::byte>(&out)[3], int64_t first, int64_t size) {
          const int64_t skip = first * dtype_bytes(dtype);
          visit_elements(rules, weight, first, size, base.data() + skip, pending, &direction,
                         {out[0].data() + skip, {out[1].data() + skip, out[2].data() + skip}});
        };
        const std::vector<std::byte> empty(base.size());
        std::vector<std::byte> whole[3] = {empty, empty, empty};
        std::vector<std::byte> parts[3] = {empty, empty, empty};
        visit(whole, 0, count);
        for (int64_t first = 0; first < count;) {
          const int64_t size = std::min(count - first, std::uniform_int_distribution<int64_t>(1, 700)(random));
          visit(parts, first, size);
          first += size;
        }
        for (int i = 0; i < 3; ++i) EXPECT_EQ(whole[i], parts[i]);
      }
    }
  }
}

TEST(Visit, NoiseWrittenOutIsTheNoiseThatIsDrawnRounded) {
  const ParameterTable table = visit_table();
  for (DType dtype : kDTypes) {
    for (Distribution noise : {Distribution::gaussian, Distribution::rademacher}) {
      ExecutorSettings settings;
      settings.noise = noise;
      const FoldRules exact{&table, dtype, &settings};
      ExecutorSettings rounded_settings = settings;
      rounded_settings.rounded_noise = true;
      const FoldRules rounded{&table, dtype, &rounded_settings};
      const std::vector<LogEntry> pending = make_entries(2, 2);
      for (int weight = 0; weight < 2; ++weight) {
        const int64_t count = table.weights[static_cast<size_t>(weight)].count();
        const std::vector<std::byte> base = random_weights(dtype, count, 6);
        const auto visit = [&](const FoldRules& rules, const std::byte* z) {
          std::vector<std::byte> out[3] = {base, base, base};
          const Direction direction{77, 5, 1e-1f, z};
          visit_elements(rules, weight, 0, count, base.data(), pending, &direction,
                         {out[0].data(), {out[1].data(), out[2].data()}});
          return std::vector<std::vector<std::byte>>(out, out + 3);
        };
        std::vector<std::byte> z(base.size());
        const int64_t half = count / 2 + 1;
        write_noise(rounded, weight, 0, half, 77, 5, z.data());
        write_noise(rounded, weight, half, count - half, 77, 5, z.data() + half * dtype_bytes(dtype));
        const auto drawn = visit(rounded, nullptr);
        EXPECT_EQ(visit(rounded, z.data()), drawn);
        // Signs are exact in every dtype, and so is everything in fp32.
        const bool same = noise == Distribution::rademacher || dtype == DType::f32;
        EXPECT_EQ(visit(exact, nullptr) == drawn, same) << dtype_name(dtype);
      }
    }
  }
}

TEST(Visit, CommitsInPlaceAndEvaluationsWriteWtWithoutADirection) {
  const ParameterTable table = visit_table();
  for (DType dtype : kDTypes) {
    const ExecutorSettings settings;
    const FoldRules rules{&table, dtype, &settings};
    const std::vector<LogEntry> pending = make_entries(3, 1);
    const int64_t count = table.weights[0].count();
    const std::vector<std::byte> base = random_weights(dtype, count, 4);
    std::vector<std::byte> evaluated(base.size());
    visit_elements(rules, 0, 0, count, base.data(), pending, nullptr, {nullptr, {evaluated.data(), nullptr}});
    EXPECT_NE(evaluated, base);
    std::vector<std::byte> committed = base;
    visit_elements(rules, 0, 0, count, committed.data(), pending, nullptr, {committed.data(), {nullptr, nullptr}});
    EXPECT_EQ(committed, evaluated);
    // What is committed is w_t: a visit of it with nothing pending makes the same W+ and W-.
    const Direction direction{1, 0, 1e-3f};
    std::vector<std::byte> out[4] = {base, base, base, base};
    visit_elements(rules, 0, 0, count, base.data(), pending, &direction, {nullptr, {out[0].data(), out[1].data()}});
    visit_elements(rules, 0, 0, count, committed.data(), {}, &direction, {nullptr, {out[2].data(), out[3].data()}});
    EXPECT_EQ(out[0], out[2]);
    EXPECT_EQ(out[1], out[3]);
  }
}

TEST(Visit, BiasesAndNormsDoNotDecay) {
  const ParameterTable table = visit_table();
  const ExecutorSettings settings;
  const FoldRules rules{&table, DType::f32, &settings};
  const std::vector<LogEntry> pending{make_entry(1, 0, 0.0f, 0.5f)};
  for (int weight = 0; weight < 2; ++weight) {
    const int64_t count = table.weights[static_cast<size_t>(weight)].count();
    const std::vector<std::byte> base = random_weights(DType::f32, count, 5);
    std::vector<std::byte> w(base.size());
    visit_elements(rules, weight, 0, count, base.data(), pending, nullptr, {w.data(), {nullptr, nullptr}});
    std::vector<float> expected = floats_of(DType::f32, base);
    if (weight == 0) {
      for (float& value : expected) value *= 0.5f;
    }
    EXPECT_EQ(floats_of(DType::f32, w), expected);
  }
}

TEST(Visit, EntriesWithoutAnUpdateLeaveEveryBitAsItIs) {
  // A non-finite gradient logs alpha 0 and decay 1; -0 must stay -0.
  const ParameterTable table = visit_table();
  for (DType dtype : kDTypes) {
    for (Rounding rounding : {Rounding::nearest, Rounding::stochastic}) {
      ExecutorSettings settings;
      settings.rounding = rounding;
      const FoldRules rules{&table, dtype, &settings};
      const int64_t count = table.weights[0].count();
      std::vector<std::byte> base = random_weights(dtype, count, 6);
      const float special[] = {-0.0f, 0.0f, 0x1p-24f, -0x1p-24f, 65504.0f, -1.0f};
      from_float(dtype, special, base.data());
      std::vector<std::byte> w(base.size());
      const std::vector<LogEntry> pending{make_entry(1, 0, 0.0f, 1.0f), make_entry(2, 0, -0.0f, 1.0f)};
      visit_elements(rules, 0, 0, count, base.data(), pending, nullptr, {w.data(), {nullptr, nullptr}});
      EXPECT_EQ(w, base);
    }
  }
}

TEST(Visit, FoldingOnceRoundsOnce) {
  // In fp32 K entries at once equal one by one; in fp16 an update below half an ulp is lost one by one and kept at
  // once.
  const ParameterTable table = visit_table();
  const ExecutorSettings settings;
  std::vector<LogEntry> pending;
  for (uint32_t step = 0; step < 8; ++step) pending.push_back(make_entry(step, 0, 0.0f, 1.0f - 0x1p-13f));
  const int64_t count = table.weights[0].count();
  for (DType dtype : {DType::f32, DType::f16}) {
    const FoldRules rules{&table, dtype, &settings};
    const std::vector<std::byte> base = random_weights(dtype, count, 7);
    std::vector<std::byte> at_once(base.size());
    visit_elements(rules, 0, 0, count, base.data(), pending, nullptr, {at_once.data(), {nullptr, nullptr}});
    std::vector<std::byte> one_by_one = base;
    for (const LogEntry& entry : pending) {
      visit_elements(rules, 0, 0, count, one_by_one.data(), std::span(&entry, 1), nullptr,
                     {one_by_one.data(), {nullptr, nullptr}});
    }
    if (dtype == DType::f32) {
      EXPECT_EQ(at_once, one_by_one);
    } else {
      EXPECT_EQ(one_by_one, base);
      EXPECT_NE(at_once, base);
    }
  }
}

TEST(Visit, TakesDirectionsFromASourceWhenThereIsOne) {
  const ParameterTable table = visit_table();
  ExecutorSettings settings;
  std::vector<std::pair<uint32_t, int64_t>> asked;
  settings.direction_source = [&](const NoiseKey& key, int64_t first, std::span<float> out) {
    asked.emplace_back(key.parameter_id, first);
    for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(first) + static_cast<float>(i);
  };
  const FoldRules rules{&table, DType::f32, &settings};
  const std::vector<float> zeros(100, 0.0f);
  std::vector<float> plus(100), minus(100);
  const Direction direction{1, 0, 0.5f};
  // Elements 40 to 139 of the packed vectors: the last ten of x and the first ninety of y.
  visit_elements(rules, 1, 40, 100, reinterpret_cast<const std::byte*>(zeros.data()), {}, &direction,
                 {nullptr, {reinterpret_cast<std::byte*>(plus.data()), reinterpret_cast<std::byte*>(minus.data())}});
  EXPECT_EQ(asked, (std::vector<std::pair<uint32_t, int64_t>>{{71, 40}, {72, 0}}));
  EXPECT_EQ(plus[0], 20.0f);
  EXPECT_EQ(plus[9], 24.5f);
  EXPECT_EQ(plus[10], 0.0f);
  EXPECT_EQ(minus[99], -44.5f);
}

}  // namespace
}  // namespace zo2

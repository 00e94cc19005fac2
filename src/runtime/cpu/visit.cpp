#include "runtime/cpu/visit.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/convert.h"

namespace zo2 {
namespace {

constexpr int64_t kBlock = 1024;  // elements; its floats stay in the first-level cache

void fold_entry(const LogEntry& entry, bool decays, std::span<const float> z, std::span<float> w) {
  const float alpha = -entry.alpha;
  const float decay = decays ? entry.decay : 1.0f;
  for (size_t i = 0; i < w.size(); ++i) w[i] = std::fma(alpha, z[i], w[i] * decay);
}

void perturb(float eps, std::span<const float> w, std::span<const float> z, std::span<float> out) {
  for (size_t i = 0; i < w.size(); ++i) out[i] = std::fma(eps, z[i], w[i]);
}

void draw(const ExecutorSettings& settings, const NoiseKey& key, int64_t index, std::span<float> z) {
  if (settings.direction_source) {
    settings.direction_source(key, index, z);
  } else {
    fill_noise(settings.noise, key, index, z);
  }
}

// Calls use(parameter, index of the first element in it, elements before it in the range, count) for blocks of at most
// kBlock elements, each inside one parameter.
template <typename Use>
void for_each_block(const ParameterTable& table, int weight, int64_t first, int64_t count, Use use) {
  for (const Segment& segment : table.weights[weight].segments) {
    const Parameter& parameter = table.parameters[segment.parameter];
    const int64_t begin = std::max(first, segment.offset);
    const int64_t end = std::min(first + count, segment.offset + parameter.count());
    for (int64_t at = begin; at < end; at += kBlock) {
      use(parameter, at - segment.offset, at - first, std::min(kBlock, end - at));
    }
  }
}

// One block inside one parameter: `index` is the element's index in the parameter, bytes are at the block.
void visit_block(const FoldRules& rules, const Parameter& parameter, int64_t index, int64_t count,
                 const std::byte* base, std::span<const LogEntry> pending, const Direction* direction,
                 const VisitOutput& output) {
  const ExecutorSettings& settings = *rules.settings;
  alignas(64) float w_data[kBlock];
  alignas(64) float z_data[kBlock];
  alignas(64) float moved_data[kBlock];
  const auto size = static_cast<size_t>(count);
  const std::span<float> w(w_data, size);
  const std::span<float> z(z_data, size);
  const std::span<float> moved(moved_data, size);
  const auto draw_z = [&](uint64_t seed, uint32_t pair) {
    draw(settings, {seed, Purpose::direction, pair, parameter.id, 0}, index, z);
    if (!settings.rounded_noise) return;
    alignas(64) std::byte rounded[kBlock * 4];
    from_float(rules.dtype, z, rounded);
    to_float(rules.dtype, rounded, z);
  };

  to_float(rules.dtype, base, w);
  for (const LogEntry& entry : pending) {
    // An entry without an update (a non-finite gradient, or g = 0 without decay) leaves w as it is.
    if (entry.alpha == 0.0f && (entry.decay == 1.0f || !parameter.decays())) continue;
    draw_z(entry.seed, entry.pair);
    fold_entry(entry, parameter.decays(), z, w);
  }
  bool stored = false;
  if (!pending.empty() && rules.dtype != DType::f32) {
    if (settings.rounding == Rounding::stochastic) {
      alignas(64) uint32_t bits[kBlock];
      const LogEntry& newest = pending.back();
      fill_bits({newest.seed, Purpose::rounding, 0, parameter.id, newest.step}, index, std::span(bits, size));
      round_stochastically(rules.dtype, std::span(bits, size), w);
    } else {
      alignas(64) std::byte scratch[kBlock * 2];
      std::byte* rounded = output.base ? output.base : scratch;  // a commit stores the same bits
      from_float(rules.dtype, w, rounded);
      to_float(rules.dtype, rounded, w);
      stored = output.base != nullptr;
    }
  }
  if (output.base && !stored) from_float(rules.dtype, w, output.base);
  if (!direction) {
    if (output.out[0]) from_float(rules.dtype, w, output.out[0]);
    return;
  }
  if (direction->z) {
    to_float(rules.dtype, direction->z, z);
  } else {
    draw_z(direction->seed, direction->pair);
  }
  for (int side = 0; side < 2; ++side) {
    perturb(side == 0 ? direction->eps : -direction->eps, w, z, moved);
    from_float(rules.dtype, moved, output.out[side]);
  }
}

}  // namespace

void visit_elements(const FoldRules& rules, int weight, int64_t first, int64_t count, const std::byte* base,
                    std::span<const LogEntry> pending, const Direction* direction, const VisitOutput& output) {
  const int64_t elt_bytes = dtype_bytes(rules.dtype);
  for_each_block(
      *rules.table, weight, first, count, [&](const Parameter& parameter, int64_t index, int64_t before, int64_t size) {
        const int64_t skip = before * elt_bytes;
        VisitOutput shifted;
        if (output.base) shifted.base = output.base + skip;
        for (int side = 0; side < 2; ++side) {
          if (output.out[side]) shifted.out[side] = output.out[side] + skip;
        }
        Direction there;
        if (direction) there = *direction;
        if (there.z) there.z += skip;
        visit_block(rules, parameter, index, size, base + skip, pending, direction ? &there : nullptr, shifted);
      });
}

void write_noise(const FoldRules& rules, int weight, int64_t first, int64_t count, uint64_t seed, uint32_t pair,
                 std::byte* out) {
  for_each_block(*rules.table, weight, first, count,
                 [&](const Parameter& parameter, int64_t index, int64_t before, int64_t size) {
                   alignas(64) float z_data[kBlock];
                   const std::span<float> z(z_data, static_cast<size_t>(size));
                   draw(*rules.settings, {seed, Purpose::direction, pair, parameter.id, 0}, index, z);
                   from_float(rules.dtype, z, out + before * dtype_bytes(rules.dtype));
                 });
}

void round_stochastically(DType dtype, std::span<const uint32_t> bits, std::span<float> values) {
  if (dtype == DType::f32) return;
  const int dropped = dtype == DType::bf16 ? 16 : 13;  // bits of a float's mantissa that the dtype lacks
  const uint32_t mask = (1u << dropped) - 1;
  for (size_t i = 0; i < values.size(); ++i) {
    const uint32_t word = std::bit_cast<uint32_t>(values[i]);
    if ((word & 0x7f800000u) == 0x7f800000u) continue;  // infinities and NaN
    if (dtype == DType::f16 && (word & 0x7fffffffu) < 0x38800000u) {
      // Below 2^-14 fp16 counts in units of 2^-24: scale so that a unit is 1, exactly.
      const float scaled = std::fabs(values[i]) * 0x1p24f;
      const float whole = std::floor(scaled);
      const float chance = static_cast<float>(bits[i] >> 8) * 0x1p-24f;
      const float rounded = (whole + (chance < scaled - whole ? 1.0f : 0.0f)) * 0x1p-24f;
      values[i] = std::copysign(rounded, values[i]);
      continue;
    }
    // Adding random bits below the last kept one carries into it with the right probability.
    values[i] = std::bit_cast<float>((word + (bits[i] & mask)) & ~mask);
  }
}

}  // namespace zo2

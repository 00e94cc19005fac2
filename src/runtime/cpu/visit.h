// The fused visit on CPU: base + pending entries -> w_t, and w_t +- eps z beside it. No LibTorch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "program/parameters.h"
#include "runtime/executor.h"

namespace zo2 {

struct Direction {
  uint64_t seed = 0;
  uint32_t pair = 0;
  float eps = 0;
  const std::byte* z = nullptr;  // of the elements visited, in the weights' dtype; null: drawn
};

struct VisitOutput {
  std::byte* base = nullptr;  // w_t, when the visit commits; may be the memory that is read
  std::byte* out[2] = {nullptr,
                       nullptr};  // w_t + eps z and w_t - eps z; or w_t in the first when there is no direction
};

// How a run folds: what stays the same from visit to visit.
struct FoldRules {
  const ParameterTable* table = nullptr;
  DType dtype = DType::f32;
  const ExecutorSettings* settings = nullptr;
};

// Visits elements [first, first + count) of a weight, whose base starts at `base`. `pending` is oldest first; with n
// pairs a step has n entries. `direction` may be null. Safe to call from several threads on disjoint ranges.
//
// fold: w = fmaf(-alpha, z, w * decay) per entry in float32 (decay 1 for biases and norms), one rounding to the dtype
// after the last; then round(fmaf(+-eps, z, w_t)). With ExecutorSettings::rounded_noise every z, of entries too, is
// rounded to the dtype first.
void visit_elements(const FoldRules& rules, int weight, int64_t first, int64_t count, const std::byte* base,
                    std::span<const LogEntry> pending, const Direction* direction, const VisitOutput& output);

// The z of a direction for elements [first, first + count) of a weight, rounded to the dtype: with
// ExecutorSettings::rounded_noise, what a visit without Direction::z would draw.
void write_noise(const FoldRules& rules, int weight, int64_t first, int64_t count, uint64_t seed, uint32_t pair,
                 std::byte* out);

// Rounds to `dtype` up or down with probabilities that make the expectation exact; `bits` is one random word an
// element. fp32 is left as it is.
void round_stochastically(DType dtype, std::span<const uint32_t> bits, std::span<float> values);

}  // namespace zo2

// From run-time choices to template arguments, for the .cu files.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "runtime/cuda/visit.h"

namespace zo2::cuda {

// Calls f.operator()<T>() with the element type.
template <typename F>
void dispatch_dtype(DType dtype, const F& f) {
  switch (dtype) {
    case DType::f32: return f.template operator()<float>();
    case DType::f16: return f.template operator()<__half>();
    case DType::bf16: return f.template operator()<__nv_bfloat16>();
  }
}

// Calls f.operator()<T, distribution, stochastic, rounded noise>(). fp32 weights never round.
template <typename F>
void dispatch(const VisitRules& rules, const F& f) {
  dispatch_dtype(rules.dtype, [&]<typename T>() {
    const bool stochastic = rules.stochastic && rules.dtype != DType::f32;
    const auto with_noise = [&]<Distribution D, bool kRounded>() {
      if (stochastic) return f.template operator()<T, D, true, kRounded>();
      return f.template operator()<T, D, false, kRounded>();
    };
    if (rules.noise == Distribution::gaussian) {
      if (rules.rounded_noise) return with_noise.template operator()<Distribution::gaussian, true>();
      return with_noise.template operator()<Distribution::gaussian, false>();
    }
    if (rules.rounded_noise) return with_noise.template operator()<Distribution::rademacher, true>();
    return with_noise.template operator()<Distribution::rademacher, false>();
  });
}

}  // namespace zo2::cuda

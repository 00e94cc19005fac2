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

// Calls f.operator()<T, distribution, stochastic>(). fp32 never rounds.
template <typename F>
void dispatch(const VisitRules& rules, const F& f) {
  dispatch_dtype(rules.dtype, [&]<typename T>() {
    const bool stochastic = rules.stochastic && rules.dtype != DType::f32;
    if (rules.noise == Distribution::gaussian) {
      if (stochastic) return f.template operator()<T, Distribution::gaussian, true>();
      return f.template operator()<T, Distribution::gaussian, false>();
    }
    if (stochastic) return f.template operator()<T, Distribution::rademacher, true>();
    return f.template operator()<T, Distribution::rademacher, false>();
  });
}

}  // namespace zo2::cuda

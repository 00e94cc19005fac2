// The element types that weights and activations can have.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/error.h"

namespace zo2 {

enum class DType : uint8_t { f32, f16, bf16 };

constexpr int64_t dtype_bytes(DType dtype) { return dtype == DType::f32 ? 4 : 2; }

constexpr std::string_view dtype_name(DType dtype) {
  return dtype == DType::f32 ? "fp32" : dtype == DType::f16 ? "fp16" : "bf16";
}

// "fp32", "fp16" or "bf16"; throws UsageError otherwise.
inline DType parse_dtype(std::string_view name) {
  for (DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    if (name == dtype_name(dtype)) return dtype;
  }
  throw UsageError(fmt::format("unknown dtype '{}': known are fp32, fp16, bf16", name));
}

}  // namespace zo2

// The element types that weights and activations can have.
#pragma once

#include <cstdint>
#include <string_view>

namespace zo2 {

enum class DType : uint8_t { f32, f16, bf16 };

constexpr int64_t dtype_bytes(DType dtype) { return dtype == DType::f32 ? 4 : 2; }

constexpr std::string_view dtype_name(DType dtype) {
  return dtype == DType::f32 ? "fp32" : dtype == DType::f16 ? "fp16" : "bf16";
}

// "fp32", "fp16" or "bf16"; throws UsageError otherwise.
DType parse_dtype(std::string_view name);

}  // namespace zo2

#include "base/dtype.h"

#include "base/error.h"

namespace zo2 {

DType parse_dtype(std::string_view name) {
  for (DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    if (name == dtype_name(dtype)) return dtype;
  }
  throw UsageError(fmt::format("unknown dtype '{}': known are fp32, fp16, bf16", name));
}

}  // namespace zo2

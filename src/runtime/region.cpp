#include "runtime/region.h"

#include "base/bytes.h"
#include "base/error.h"

namespace zo2 {

std::byte* Region::take(size_t bytes) {
  const int64_t rounded = align_up(static_cast<int64_t>(bytes), alignment_);
  used_ += rounded;
  if (data_ == nullptr) return nullptr;
  ZO2_CHECK(used_ <= capacity_, InternalError,
            "{}: LibTorch asked for {} beyond the {} that the plan reserved (a bug in zo2; please report it)", what_,
            format_bytes(rounded), format_bytes(capacity_));
  return data_ + used_ - rounded;
}

}  // namespace zo2

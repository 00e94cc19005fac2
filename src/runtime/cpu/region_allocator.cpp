#include "runtime/cpu/region_allocator.h"

#include <ATen/ATen.h>
#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include <atomic>
#include <cstring>
#include <mutex>

#include "base/bytes.h"
#include "base/error.h"

namespace zo2::cpu {
namespace {

constexpr int64_t kRegionAlignment = 64;
thread_local RegionScope* current = nullptr;
std::atomic<int64_t> library_peak{0};

void keep(void* /*data*/) {}

}  // namespace

class RegionAllocator final : public c10::Allocator {
 public:
  explicit RegionAllocator(c10::Allocator* fallback) : fallback_(fallback) {}

  c10::DataPtr allocate(size_t bytes) override {
    RegionScope* scope = current;
    if (scope == nullptr || bytes == 0) return fallback_->allocate(bytes);
    const int64_t rounded = align_up(static_cast<int64_t>(bytes), kRegionAlignment);
    scope->used_ += rounded;
    if (scope->data_ == nullptr) return fallback_->allocate(bytes);
    ZO2_CHECK(scope->used_ <= scope->capacity_, InternalError,
              "{}: LibTorch asked for {} beyond the {} that the plan reserved (a bug in zo2; please report it)",
              scope->what_, format_bytes(rounded), format_bytes(scope->capacity_));
    std::byte* data = scope->data_ + scope->used_ - rounded;
    return {data, data, &keep, c10::Device(c10::DeviceType::CPU)};
  }

  // oneDNN takes and returns raw memory through this allocator, always inside one operation.
  c10::DeleterFnPtr raw_deleter() const override { return &release; }

  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }

 private:
  static void release(void* data) {
    const RegionScope* scope = current;
    const bool inside =
        scope != nullptr && scope->data_ != nullptr && data >= scope->data_ && data < scope->data_ + scope->capacity_;
    if (!inside) c10::GetDefaultCPUAllocator()->raw_deleter()(data);
  }

  c10::Allocator* fallback_;
};

RegionScope::RegionScope(std::byte* data, int64_t bytes, const char* what)
    : data_(data), capacity_(bytes), what_(what), outer_(current) {
  static std::once_flag installed;
  std::call_once(installed, [] {
    static RegionAllocator allocator(c10::GetDefaultCPUAllocator());
    c10::SetCPUAllocator(&allocator, /*priority=*/1);
  });
  current = this;
}

RegionScope::~RegionScope() { current = outer_; }

CountingScope::~CountingScope() {
  int64_t peak = library_peak.load();
  while (used_ > peak && !library_peak.compare_exchange_weak(peak, used_)) {
  }
}

int64_t library_peak_bytes() { return library_peak.load(); }

}  // namespace zo2::cpu

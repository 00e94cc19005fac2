#include "runtime/cpu/region_allocator.h"

#include <ATen/ATen.h>
#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include <atomic>
#include <cstring>
#include <mutex>

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
    std::byte* data = scope->take(bytes);
    if (data == nullptr) return fallback_->allocate(bytes);
    return {data, data, &keep, c10::Device(c10::DeviceType::CPU)};
  }

  // oneDNN takes and returns raw memory through this allocator, always inside one operation.
  c10::DeleterFnPtr raw_deleter() const override { return &release; }

  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }

 private:
  static void release(void* data) {
    if (current == nullptr || !current->holds(data)) c10::GetDefaultCPUAllocator()->raw_deleter()(data);
  }

  c10::Allocator* fallback_;
};

RegionScope::RegionScope(std::byte* data, int64_t bytes, const char* what)
    : Region(data, bytes, kRegionAlignment, what), outer_(current) {
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
  while (used_bytes() > peak && !library_peak.compare_exchange_weak(peak, used_bytes())) {
  }
}

int64_t library_peak_bytes() { return library_peak.load(); }

}  // namespace zo2::cpu

#include "runtime/cuda/region_allocator.h"

#include <c10/cuda/CUDACachingAllocator.h>

#include <mutex>

#include "base/error.h"

namespace zo2::cuda {
namespace {

namespace caching = c10::cuda::CUDACachingAllocator;

constexpr size_t kScalarBytes = 16;
thread_local RegionScope* current = nullptr;

void keep(void* /*data*/) {}

}  // namespace

// All but allocate() is LibTorch's caching allocator's.
class RegionAllocator final : public caching::CUDAAllocator {
 public:
  explicit RegionAllocator(caching::CUDAAllocator* inner) : inner_(inner) {}

  c10::DataPtr allocate(size_t bytes) override {
    RegionScope* scope = current;
    if (scope == nullptr || bytes == 0) return inner_->allocate(bytes);
    std::byte* data = bytes <= kScalarBytes ? scope->scalars() : scope->take(bytes);
    if (data == nullptr) return inner_->allocate(bytes);
    return {data, data, &keep, c10::Device(c10::DeviceType::CUDA, 0)};
  }

  c10::DeleterFnPtr raw_deleter() const override { return inner_->raw_deleter(); }
  void copy_data(void* to, const void* from, size_t bytes) const override { inner_->copy_data(to, from, bytes); }
  bool initialized() override { return inner_->initialized(); }
  void emptyCache(c10::MempoolId_t pool) override { inner_->emptyCache(pool); }
  c10::CachingDeviceAllocator::DeviceStats getDeviceStats(c10::DeviceIndex d) override {
    return inner_->getDeviceStats(d);
  }
  void resetAccumulatedStats(c10::DeviceIndex d) override { inner_->resetAccumulatedStats(d); }
  void resetPeakStats(c10::DeviceIndex d) override { inner_->resetPeakStats(d); }
  void* raw_alloc(size_t bytes) override { return inner_->raw_alloc(bytes); }
  void* raw_alloc_with_stream(size_t bytes, cudaStream_t stream) override {
    return inner_->raw_alloc_with_stream(bytes, stream);
  }
  void raw_delete(void* data) override { inner_->raw_delete(data); }
  void init(int devices) override { inner_->init(devices); }
  double getMemoryFraction(c10::DeviceIndex d) override { return inner_->getMemoryFraction(d); }
  void setMemoryFraction(double fraction, c10::DeviceIndex d) override { inner_->setMemoryFraction(fraction, d); }
  std::vector<caching::StreamSegmentSize> getExpandableSegmentSizes(c10::DeviceIndex d) override {
    return inner_->getExpandableSegmentSizes(d);
  }
  void enable(bool value) override { inner_->enable(value); }
  bool isEnabled() const override { return inner_->isEnabled(); }
  void cacheInfo(c10::DeviceIndex d, size_t* largest) override { inner_->cacheInfo(d, largest); }
  void* getBaseAllocation(void* data, size_t* size) override { return inner_->getBaseAllocation(data, size); }
  void recordStream(const c10::DataPtr& data, c10::cuda::CUDAStream stream) override {
    if (data.get_deleter() != &keep) inner_->recordStream(data, stream);
  }
  caching::SnapshotInfo snapshot(c10::MempoolId_t pool, bool traces) override { return inner_->snapshot(pool, traces); }
  void beginAllocateToPool(c10::DeviceIndex d, c10::MempoolId_t pool,
                           std::function<bool(cudaStream_t)> filter) override {
    inner_->beginAllocateToPool(d, pool, std::move(filter));
  }
  void endAllocateToPool(c10::DeviceIndex d, c10::MempoolId_t pool) override { inner_->endAllocateToPool(d, pool); }
  void releasePool(c10::DeviceIndex d, c10::MempoolId_t pool) override { inner_->releasePool(d, pool); }
  caching::ShareableHandle shareIpcHandle(void* data) override { return inner_->shareIpcHandle(data); }
  std::shared_ptr<void> getIpcDevPtr(std::string handle) override { return inner_->getIpcDevPtr(std::move(handle)); }
  void recordHistory(bool enabled, caching::CreateContextFn context, size_t entries, caching::RecordContext when,
                     bool clear, const std::vector<std::string>& skip) override {
    inner_->recordHistory(enabled, context, entries, when, clear, skip);
  }
  void attachOutOfMemoryObserver(caching::OutOfMemoryObserver observer) override {
    inner_->attachOutOfMemoryObserver(std::move(observer));
  }
  void attachAllocatorTraceTracker(caching::AllocatorTraceTracker tracker) override {
    inner_->attachAllocatorTraceTracker(std::move(tracker));
  }
  void enablePeerAccess(c10::DeviceIndex from, c10::DeviceIndex to) override { inner_->enablePeerAccess(from, to); }
  cudaError_t memcpyAsync(void* to, int to_device, const void* from, int from_device, size_t bytes, cudaStream_t stream,
                          bool peer) override {
    return inner_->memcpyAsync(to, to_device, from, from_device, bytes, stream, peer);
  }
  std::shared_ptr<caching::AllocatorState> getCheckpointState(c10::DeviceIndex d, c10::MempoolId_t pool) override {
    return inner_->getCheckpointState(d, pool);
  }
  caching::CheckpointDelta setCheckpointPoolState(c10::DeviceIndex d,
                                                  std::shared_ptr<caching::AllocatorState> state) override {
    return inner_->setCheckpointPoolState(d, std::move(state));
  }
  std::string name() override { return "zo2 region"; }

 private:
  caching::CUDAAllocator* inner_;
};

RegionScope::RegionScope(std::byte* data, int64_t bytes, const char* what)
    : Region(data, bytes - kScalarsBytes, kRegionAlignment, what),
      scalars_(data == nullptr ? nullptr : data + bytes - kScalarsBytes),
      outer_(current) {
  ZO2_ASSERT(data == nullptr || bytes >= kScalarsBytes);
  static std::once_flag installed;
  std::call_once(installed, [] {
    static RegionAllocator allocator(caching::get());
    caching::allocator.store(&allocator);
  });
  current = this;
}

RegionScope::~RegionScope() { current = outer_; }

}  // namespace zo2::cuda

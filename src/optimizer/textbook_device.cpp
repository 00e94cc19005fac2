#include "optimizer/textbook_device.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <string>
#include <vector>

#include "base/convert.h"
#include "base/error.h"

#ifdef ZO2_HAVE_CUDA
#include "runtime/cuda/libtorch.h"
#include "runtime/cuda/resources.h"
#include "runtime/cuda/visit.h"
#endif

namespace zo2 {
namespace {

class TextbookCpu final : public TextbookDevice {
 public:
  explicit TextbookCpu(int threads) {
    if (threads > 0) at::set_num_threads(threads);
  }

  at::Device place() const override { return at::kCPU; }

  void fill_noise(Distribution noise, uint64_t seed, const Parameter& parameter, DType dtype, at::Tensor& z) override {
    auto* out = static_cast<std::byte*>(z.mutable_data_ptr());
    const NoiseKey key{seed, Purpose::direction, 0, parameter.id, 0};
    at::parallel_for(0, z.numel(), 1 << 16, [&](int64_t first, int64_t last) {
      constexpr int64_t kBlock = 4096;
      std::vector<float> block(kBlock);
      for (int64_t at = first; at < last; at += kBlock) {
        const std::span<float> part(block.data(), static_cast<size_t>(std::min(kBlock, last - at)));
        zo2::fill_noise(noise, key, at, part);
        from_float(dtype, part, out + at * dtype_bytes(dtype));
      }
    });
  }

  void start_clock() override { last_end_ = std::chrono::steady_clock::now(); }

  void end_step() override {
    const auto now = std::chrono::steady_clock::now();
    steps_ms_.push_back(std::chrono::duration<double, std::milli>(now - last_end_).count());
    last_end_ = now;
  }

  double next_step_ms() override {
    const double ms = steps_ms_.front();
    steps_ms_.pop_front();
    return ms;
  }

  MemoryMeter memory() const override { return {}; }

 protected:
  void use_stream() override {}

 private:
  std::chrono::steady_clock::time_point last_end_;
  std::deque<double> steps_ms_;
};

#ifdef ZO2_HAVE_CUDA
class TextbookCuda final : public TextbookDevice {
 public:
  TextbookCuda() {
    cuda::load_libtorch_cuda();
    // FlashAttention, or the memory-efficient kernel in float32, as the engine: newer LibTorch may prefer cuDNN's.
    at::globalContext().setSDPUseCuDNN(false);
    cuda::reset_allocator_peaks();
  }

  at::Device place() const override { return {at::kCUDA, 0}; }

  void fill_noise(Distribution noise, uint64_t seed, const Parameter& parameter, DType dtype, at::Tensor& z) override {
    cuda::fill_noise(dtype, noise, seed, parameter.id, z.numel(), static_cast<std::byte*>(z.mutable_data_ptr()),
                     stream_);
  }

  void start_clock() override { last_end_.record(stream_); }

  // The update is asynchronous, so the host's clock would miss it: an event after it has all of the step's work.
  void end_step() override { ends_.emplace_back(/*timing=*/true).record(stream_); }

  double next_step_ms() override {
    cuda::Event end = std::move(ends_.front());
    ends_.pop_front();
    end.synchronize();
    const float ms = end.ms_since(last_end_);
    std::swap(last_end_, end);
    return static_cast<double>(ms);
  }

  MemoryMeter memory() const override {
    const cuda::AllocatorPeaks peaks = cuda::allocator_peaks();
    MemoryMeter meter;
    meter.allocator_reserved_peak_bytes = peaks.reserved_bytes;
    meter.allocator_allocated_peak_bytes = peaks.allocated_bytes;
    return meter;
  }

 protected:
  void use_stream() override { stream_ = cuda::use_default_stream(); }

 private:
  cudaStream_t stream_ = nullptr;  // the default one
  cuda::Event last_end_{/*timing=*/true};
  std::deque<cuda::Event> ends_;
};
#endif

}  // namespace

void TextbookDevice::throw_typed(const c10::Error& error) {
  const std::string text = error.what_without_backtrace();
  // The allocators of CUDA and CPU, and cuBLAS, each say it their own way.
  for (const char* sign : {"out of memory", "not enough memory", "ALLOC_FAILED"}) {
    ZO2_CHECK(text.find(sign) == std::string::npos, OutOfMemoryError,
              "method mezo holds all weights, the noise of a whole parameter and full logits [tokens, vocab_size]: {} "
              "(choose a smaller model, batch or sequence, or method zo2)",
              text);
  }
  throw DeviceError("LibTorch: " + text);
}

std::unique_ptr<TextbookDevice> make_textbook_device(Device device, int threads) {
#ifdef ZO2_HAVE_CUDA
  if (device == Device::cuda) return std::make_unique<TextbookCuda>();
#endif
  ZO2_ASSERT(device == Device::cpu);
  return std::make_unique<TextbookCpu>(threads);
}

}  // namespace zo2

// How tiles cross between host weights and the device: the three ways of `engine.host`.
//
// registered: the weights are page-locked; copies and gathers reach them directly. Costs pinning time, and device
//             memory for page tables (2 MiB per GiB).
// staged:     CPU threads copy through a small page-locked ring (staging.h): no such costs.
// pageable:   plain memory; the driver copies, and blocks while it does (an ablation).
#pragma once

#include <memory>
#include <vector>

#include "runtime/cuda/resources.h"
#include "runtime/cuda/staging.h"
#include "runtime/executor.h"

namespace zo2::cuda {

class HostLink {
 public:
  // `tiles` counts the tiles that can move. `weights` must outlive this.
  HostLink(HostWeights& weights, HostMemory mode, size_t tiles, int threads);

  // Copies on the stream. An upload also waits for the newest download of its tile, where a stream's order does not.
  void upload(int tile, int weight, int64_t first_byte, std::byte* device, int64_t bytes, cudaStream_t stream);
  void download(int tile, int weight, int64_t first_byte, const std::byte* device, int64_t bytes, cudaStream_t stream);

  // A weight's memory as kernels can read it; null where they cannot.
  const std::byte* mapped(int weight) const { return mode_ == HostMemory::registered ? host(weight) : nullptr; }

  // Copies rows into `to` (page-locked), one after another and null ones left out, once the download of `after_tile`
  // has landed (-1: at once); the stream then waits for it.
  void pack(std::vector<const std::byte*> rows, int64_t row_bytes, std::byte* to, int after_tile, cudaStream_t stream);

  // After the device has been synchronised: waits until all downloads have landed in host memory.
  void finish() const;

  int64_t pinned_bytes() const { return pinned_bytes_; }
  double pin_seconds() const { return pin_seconds_; }

 private:
  // Aliased weights are reached through their owner: a driver page-locks no more than the machine's memory, however
  // often the same page counts.
  std::byte* host(int weight) const { return weights_.data(weights_.owner(weight)); }
  void register_weights();

  HostWeights& weights_;
  HostMemory mode_;
  std::vector<HostRegistration> registered_;
  DeviceBuffer page_tables_;       // what those of aliased weights would take
  std::unique_ptr<Staging> down_;  // before up_, whose jobs may wait for its downloads until they end
  std::unique_ptr<Staging> up_;
  std::vector<uint32_t> landed_;  // per tile: jobs of down_ after which its newest download is in host memory
  int64_t pinned_bytes_ = 0;
  double pin_seconds_ = 0;
};

}  // namespace zo2::cuda

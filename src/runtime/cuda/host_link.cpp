#include "runtime/cuda/host_link.h"

#include <algorithm>
#include <chrono>

#include "base/bytes.h"

namespace zo2::cuda {
namespace {

constexpr size_t kUpPieces = 6;
constexpr size_t kDownPieces = 4;
constexpr int64_t kPageTableBytesPerGib = 2 * kMiB;  // measured: 8 bytes for each 4 KiB, whatever the page size

}  // namespace

HostLink::HostLink(HostWeights& weights, HostMemory mode, size_t tiles, int threads) : weights_(weights), mode_(mode) {
  const auto begin = std::chrono::steady_clock::now();
  if (mode == HostMemory::registered) register_weights();
  if (mode == HostMemory::staged) {
    // Uploads carry every byte of a step, downloads a K-th.
    const int up_threads = std::max(1, threads * 3 / 4);
    up_ = std::make_unique<Staging>(Staging::Way::up, kUpPieces, up_threads);
    down_ = std::make_unique<Staging>(Staging::Way::down, kDownPieces, std::max(1, threads - up_threads));
    landed_.assign(tiles, 0);
    pinned_bytes_ = static_cast<int64_t>(kUpPieces + kDownPieces) * kPieceBytes;
  }
  if (mode == HostMemory::pageable) up_ = std::make_unique<Staging>(Staging::Way::up, 0, std::min(4, threads));
  pin_seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

void HostLink::register_weights() {
  for (int weight = 0; weight < weights_.count(); ++weight) {
    if (weights_.owner(weight) != weight || weights_.bytes(weight) == 0) continue;
    registered_.emplace_back(weights_.data(weight), weights_.bytes(weight),
                             weights_.table().weights[static_cast<size_t>(weight)].name);
    pinned_bytes_ += weights_.bytes(weight);
  }
  const int64_t aliased = weights_.total_bytes() - weights_.physical_bytes();
  page_tables_ = DeviceBuffer(static_cast<int64_t>(static_cast<double>(aliased) / kGiB * kPageTableBytesPerGib),
                              "a stand-in for page tables of aliased weights");
}

void HostLink::upload(int tile, int weight, int64_t first_byte, std::byte* device, int64_t bytes, cudaStream_t stream) {
  if (mode_ == HostMemory::staged) {
    up_->copy(weights_.data(weight) + first_byte, device, bytes, down_.get(), landed_[static_cast<size_t>(tile)],
              stream);
    return;
  }
  ZO2_CUDA_CHECK(
      cudaMemcpyAsync(device, host(weight) + first_byte, static_cast<size_t>(bytes), cudaMemcpyHostToDevice, stream));
}

void HostLink::download(int tile, int weight, int64_t first_byte, const std::byte* device, int64_t bytes,
                        cudaStream_t stream) {
  if (mode_ == HostMemory::staged) {
    down_->copy(weights_.data(weight) + first_byte, const_cast<std::byte*>(device), bytes, nullptr, 0, stream);
    landed_[static_cast<size_t>(tile)] = down_->enqueued();
    return;
  }
  ZO2_CUDA_CHECK(
      cudaMemcpyAsync(host(weight) + first_byte, device, static_cast<size_t>(bytes), cudaMemcpyDeviceToHost, stream));
}

void HostLink::pack(std::vector<const std::byte*> rows, int64_t row_bytes, std::byte* to, int after_tile,
                    cudaStream_t stream) {
  const bool staged = mode_ == HostMemory::staged && after_tile >= 0;
  up_->pack(std::move(rows), row_bytes, to, staged ? down_.get() : nullptr,
            staged ? landed_[static_cast<size_t>(after_tile)] : 0, stream);
}

void HostLink::finish() const {
  if (down_) down_->finish();
}

}  // namespace zo2::cuda

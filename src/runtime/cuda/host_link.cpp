#include "runtime/cuda/host_link.h"

#include <algorithm>
#include <chrono>
#include <cstring>

namespace zo2::cuda {
namespace {

constexpr int64_t kPieceBytes = int64_t{32} << 20;  // six of them: measured, see docs/performance.md
constexpr size_t kUpPieces = 6;
constexpr size_t kDownPieces = 4;
constexpr int kMostThreads = 12;

// Runs `work` on the stream, as a host function. It must not call CUDA and must not throw.
template <typename Work>
void launch_host(cudaStream_t stream, Work work) {
  auto held = std::make_unique<Work>(std::move(work));
  ZO2_CUDA_CHECK(cudaLaunchHostFunc(
      stream,
      [](void* data) {
        const std::unique_ptr<Work> taken(static_cast<Work*>(data));
        (*taken)();
      },
      held.get()));
  held.release();  // NOLINT(bugprone-unused-return-value): the host function owns it now
}

}  // namespace

HostLink::HostLink(HostWeights& weights, HostMemory mode, size_t tiles, int threads) : mode_(mode) {
  for (size_t tile = 0; tile < tiles; ++tile) landed_.emplace_back();
  const auto begin = std::chrono::steady_clock::now();
  if (mode == HostMemory::registered) {
    for (int weight = 0; weight < weights.count(); ++weight) {
      if (weights.bytes(weight) == 0) continue;
      registered_.emplace_back(weights.data(weight), weights.bytes(weight),
                               weights.table().weights[static_cast<size_t>(weight)].name);
      pinned_bytes_ += weights.bytes(weight);
    }
  } else if (mode == HostMemory::staged) {
    pool_ = std::make_unique<CopyPool>(std::clamp(threads, 1, kMostThreads));
    for (auto [ring, count] : {std::pair{&up_, kUpPieces}, std::pair{&down_, kDownPieces}}) {
      for (size_t i = 0; i < count; ++i) {
        ring->push_back(Piece{PinnedBuffer(kPieceBytes), Event(), Event()});
        pinned_bytes_ += kPieceBytes;
      }
    }
  }
  pin_seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

HostLink::~HostLink() = default;

HostLink::Piece& HostLink::next_piece(std::vector<Piece>& ring, size_t& next) { return ring[next++ % ring.size()]; }

void HostLink::upload(int tile, const std::byte* host, std::byte* device, int64_t bytes, cudaStream_t stream) {
  if (mode_ != HostMemory::staged) {
    ZO2_CUDA_CHECK(cudaMemcpyAsync(device, host, static_cast<size_t>(bytes), cudaMemcpyHostToDevice, stream));
    return;
  }
  wait_landed(tile, fill_);
  for (int64_t at = 0; at < bytes; at += kPieceBytes) {
    const int64_t part = std::min(kPieceBytes, bytes - at);
    Piece& piece = next_piece(up_, next_up_);
    auto* memory = piece.memory.as<std::byte>();
    piece.freed.wait_on(fill_);
    launch_host(fill_, [pool = pool_.get(), memory, from = host + at, part] { pool->copy(memory, from, part); });
    piece.filled.record(fill_);
    piece.filled.wait_on(stream);
    ZO2_CUDA_CHECK(cudaMemcpyAsync(device + at, memory, static_cast<size_t>(part), cudaMemcpyHostToDevice, stream));
    piece.freed.record(stream);
  }
}

void HostLink::download(int tile, const std::byte* device, std::byte* host, int64_t bytes, cudaStream_t stream) {
  if (mode_ != HostMemory::staged) {
    ZO2_CUDA_CHECK(cudaMemcpyAsync(host, device, static_cast<size_t>(bytes), cudaMemcpyDeviceToHost, stream));
    landed_[static_cast<size_t>(tile)].record(stream);
    return;
  }
  for (int64_t at = 0; at < bytes; at += kPieceBytes) {
    const int64_t part = std::min(kPieceBytes, bytes - at);
    Piece& piece = next_piece(down_, next_down_);
    auto* memory = piece.memory.as<std::byte>();
    piece.freed.wait_on(stream);
    ZO2_CUDA_CHECK(cudaMemcpyAsync(memory, device + at, static_cast<size_t>(part), cudaMemcpyDeviceToHost, stream));
    piece.filled.record(stream);
    piece.filled.wait_on(drain_);
    launch_host(drain_, [pool = pool_.get(), memory, to = host + at, part] { pool->copy(to, memory, part); });
    piece.freed.record(drain_);
  }
  landed_[static_cast<size_t>(tile)].record(drain_);
}

void HostLink::wait_landed(int tile, cudaStream_t stream) const {
  if (tile >= 0) landed_[static_cast<size_t>(tile)].wait_on(stream);
}

void HostLink::pack(std::vector<const std::byte*> rows, int64_t row_bytes, std::byte* to, int after_tile,
                    cudaStream_t stream) {
  wait_landed(after_tile, fill_);
  launch_host(fill_, [rows = std::move(rows), row_bytes, to] {
    for (size_t i = 0; i < rows.size(); ++i) {
      if (rows[i] != nullptr) {
        std::memcpy(to + static_cast<int64_t>(i) * row_bytes, rows[i], static_cast<size_t>(row_bytes));
      }
    }
  });
  packed_.record(fill_);
  packed_.wait_on(stream);
}

}  // namespace zo2::cuda

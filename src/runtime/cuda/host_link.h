// How tiles cross between host weights and the device: the three ways of `engine.host`.
//
// registered: the weights are page-locked; copies and gathers reach them directly. Costs pinning time, and device
//             memory for page tables (2 MiB per GiB).
// staged:     CPU threads copy through a small page-locked ring, enqueued as host functions on streams of their own, so
//             that still nothing waits in a step.
// pageable:   plain memory; the driver copies, and blocks while it does (an ablation).
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "runtime/cuda/copy_pool.h"
#include "runtime/cuda/resources.h"
#include "runtime/executor.h"

namespace zo2::cuda {

class HostLink {
 public:
  // `tiles` counts the tiles that can move. `weights` must outlive this.
  HostLink(HostWeights& weights, HostMemory mode, size_t tiles, int threads);
  ~HostLink();

  // On the stream; the upload's own dependency, that the newest download of this tile has landed, is kept here.
  void upload(int tile, const std::byte* host, std::byte* device, int64_t bytes, cudaStream_t stream);
  void download(int tile, const std::byte* device, std::byte* host, int64_t bytes, cudaStream_t stream);

  // Whether kernels may read host weights where they lie.
  bool mapped() const { return mode_ == HostMemory::registered; }

  // Copies rows into `to`, one after another, once the download of `after_tile` has landed (-1: at once); the stream
  // then waits for it. `rows` must be readable until then; `to` is page-locked.
  void pack(std::vector<const std::byte*> rows, int64_t row_bytes, std::byte* to, int after_tile, cudaStream_t stream);
  // The stream waits until the newest download of the tile has landed in host memory.
  void wait_landed(int tile, cudaStream_t stream) const;

  int64_t pinned_bytes() const { return pinned_bytes_; }
  double pin_seconds() const { return pin_seconds_; }

 private:
  struct Piece {
    PinnedBuffer memory;
    Event filled;
    Event freed;
  };
  Piece& next_piece(std::vector<Piece>& ring, size_t& next);

  HostMemory mode_;
  std::vector<HostRegistration> registered_;
  std::vector<Event> landed_;  // per tile
  // staged
  std::unique_ptr<CopyPool> pool_;
  std::vector<Piece> up_;
  std::vector<Piece> down_;
  size_t next_up_ = 0;
  size_t next_down_ = 0;
  Stream fill_;   // host functions that fill the upload ring and pack rows
  Stream drain_;  // host functions that empty the download ring
  Event packed_;
  int64_t pinned_bytes_ = 0;
  double pin_seconds_ = 0;
};

}  // namespace zo2::cuda

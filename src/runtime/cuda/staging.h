// One direction of staged copies: CPU threads between host weights and a small page-locked ring, streams between the
// ring and the device. Neither waits for the other through the driver: streams wait on and write counters in
// page-locked memory, which the threads poll, so a whole step is enqueued ahead and no call blocks.
//
// Every job is cut into a share for each thread. Threads take jobs in order, so jobs end in order, and "job n and all
// before it are done" is one counter.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "runtime/cuda/resources.h"
#include "store/host_memory.h"

namespace zo2::cuda {

inline constexpr int64_t kPieceBytes = int64_t{32} << 20;

class Staging {
 public:
  enum class Way : uint8_t { up, down };

  // A ring of `pieces` pieces (0: packing only) and `threads` threads.
  Staging(Way way, size_t pieces, int threads);
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  // Enqueues copies on the stream, piece by piece. Up: host -> ring -> device, once `before` (may be null) has done
  // `count` jobs; down: device -> ring -> host.
  void copy(std::byte* host, std::byte* device, int64_t bytes, const Staging* before, uint32_t count,
            cudaStream_t stream);
  // Up: rows of row_bytes to `to` in page-locked memory, one after another, null ones left out; the stream waits.
  void pack(std::vector<const std::byte*> rows, int64_t row_bytes, std::byte* to, const Staging* before, uint32_t count,
            cudaStream_t stream);

  // Jobs enqueued so far: once that many are done, everything enqueued until now has landed.
  uint32_t enqueued() const { return enqueued_; }
  // Waits on the host until all jobs are done.
  void finish() const;

 private:
  struct Job;

  void enqueue(Job job);
  void work(int index);
  void run_share(const Job& job, int index) const;
  void wait_until(const uint32_t* word, uint32_t value) const;

  Way way_;
  uint32_t pieces_;
  HostBuffer ring_;  // on huge pages: streaming stores into small ones reach 5/6 of the rate
  std::optional<HostRegistration> registered_;
  PinnedBuffer words_;        // done_by_cpu, done_by_stream: one cache line each
  uint32_t* done_by_cpu_;     // jobs whose threads have finished
  uint32_t* done_by_stream_;  // jobs whose stream part has finished
  uint32_t enqueued_ = 0;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Job>> jobs_;  // the oldest is number first_ + 1
  uint32_t first_ = 0;                     // jobs that have left the queue
  std::atomic<bool> stopping_ = false;
  int shares_;
  std::vector<std::jthread> threads_;  // last: they use all of the above
};

}  // namespace zo2::cuda

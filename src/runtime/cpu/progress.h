// How far each operation of a schedule has come: the CPU's stand-in for device events.
//
// done(op) counts the passes that have run the operation. Waiting is a futex per operation; a failure anywhere wakes
// every waiter with PassAborted, so that no thread hangs.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>

#include "program/schedule.h"

namespace zo2::cpu {

struct PassAborted {};

class Progress {
 public:
  explicit Progress(size_t ops) : count_(ops), done_(std::make_unique<std::atomic<int64_t>[]>(ops)) {}

  void complete(int op, int64_t pass) {
    int64_t expected = pass;
    // Not a plain store: abort() must win.
    done_[op].compare_exchange_strong(expected, pass + 1, std::memory_order_release);
    done_[op].notify_all();
  }

  // Returns when the operation has run in this pass. Throws PassAborted after abort().
  void wait(int op, int64_t pass) const {
    int64_t seen = done_[op].load(std::memory_order_acquire);
    while (seen <= pass) {
      done_[op].wait(seen, std::memory_order_acquire);
      seen = done_[op].load(std::memory_order_acquire);
    }
    if (seen == kAborted) throw PassAborted();
  }

  void abort() {
    for (size_t op = 0; op < count_; ++op) {
      done_[op].store(kAborted, std::memory_order_release);
      done_[op].notify_all();
    }
  }

 private:
  static constexpr int64_t kAborted = std::numeric_limits<int64_t>::max();
  size_t count_;
  std::unique_ptr<std::atomic<int64_t>[]> done_;
};

}  // namespace zo2::cpu

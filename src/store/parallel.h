// A loop over independent jobs on a few threads, for loading, hashing and initialising.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <limits>
#include <mutex>
#include <thread>
#include <vector>

namespace zo2 {

inline int hardware_threads() {
  const unsigned count = std::thread::hardware_concurrency();
  return count == 0 ? 1 : static_cast<int>(count);
}

// Calls job(i) once for every i in [0, count), handed out in ascending order to `threads` threads (the caller is one).
// When jobs throw, no further ones are started and the exception of the lowest i is rethrown: the same one whatever
// the timing, since all lower jobs were handed out before and run to their end.
template <typename Job>
void parallel_for(int threads, int64_t count, const Job& job) {
  std::atomic<int64_t> next{0};
  std::mutex mutex;
  std::exception_ptr failure;
  int64_t failed = std::numeric_limits<int64_t>::max();
  const auto work = [&] {
    for (int64_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) {
      try {
        job(i);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (i < failed) {
          failed = i;
          failure = std::current_exception();
        }
        next.store(count);
      }
    }
  };
  {
    std::vector<std::jthread> helpers;
    for (int64_t i = 1; i < threads && i < count; ++i) helpers.emplace_back(work);
    work();
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace zo2

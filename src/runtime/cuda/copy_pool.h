// Copies host memory by several threads with streaming stores: what `host: staged` moves tiles with. One plain memcpy
// reaches a fifth of the link's rate.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace zo2::cuda {

class CopyPool {
 public:
  explicit CopyPool(int threads);
  ~CopyPool();
  CopyPool(const CopyPool&) = delete;
  CopyPool& operator=(const CopyPool&) = delete;

  // Returns when all is copied. One caller at a time.
  void copy(std::byte* to, const std::byte* from, int64_t bytes);

 private:
  void work(int index);
  void copy_share(int index) const;

  std::mutex callers_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::condition_variable done_;
  std::byte* to_ = nullptr;
  const std::byte* from_ = nullptr;
  int64_t bytes_ = 0;
  int64_t round_ = 0;
  int left_ = 0;
  bool stopping_ = false;
  int shares_;
  std::vector<std::jthread> threads_;  // last: they use all of the above
};

}  // namespace zo2::cuda

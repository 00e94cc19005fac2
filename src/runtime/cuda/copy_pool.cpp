#include "runtime/cuda/copy_pool.h"

#include <algorithm>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace zo2::cuda {
namespace {

constexpr int64_t kLine = 64;

// Stores go past the caches: the bytes are the device's next, not this core's.
void stream_copy(std::byte* to, const std::byte* from, int64_t bytes) {
#if defined(__AVX2__)
  if (reinterpret_cast<uintptr_t>(to) % 32 == 0) {
    int64_t at = 0;
    for (; at + 128 <= bytes; at += 128) {
      const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + at));
      const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + at + 32));
      const __m256i c = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + at + 64));
      const __m256i d = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + at + 96));
      _mm256_stream_si256(reinterpret_cast<__m256i*>(to + at), a);
      _mm256_stream_si256(reinterpret_cast<__m256i*>(to + at + 32), b);
      _mm256_stream_si256(reinterpret_cast<__m256i*>(to + at + 64), c);
      _mm256_stream_si256(reinterpret_cast<__m256i*>(to + at + 96), d);
    }
    std::memcpy(to + at, from + at, static_cast<size_t>(bytes - at));
    _mm_sfence();
    return;
  }
#endif
  std::memcpy(to, from, static_cast<size_t>(bytes));
}

}  // namespace

CopyPool::CopyPool(int threads) : shares_(std::max(1, threads)) {
  for (int index = 1; index < shares_; ++index) threads_.emplace_back([this, index] { work(index); });
}

CopyPool::~CopyPool() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
}

void CopyPool::copy_share(int index) const {
  const int64_t share = (bytes_ / shares_ + kLine - 1) / kLine * kLine;
  const int64_t begin = std::min(bytes_, index * share);
  const int64_t end = index + 1 == shares_ ? bytes_ : std::min(bytes_, begin + share);
  stream_copy(to_ + begin, from_ + begin, end - begin);
}

void CopyPool::copy(std::byte* to, const std::byte* from, int64_t bytes) {
  const std::lock_guard caller(callers_);
  {
    const std::lock_guard lock(mutex_);
    to_ = to;
    from_ = from;
    bytes_ = bytes;
    left_ = shares_ - 1;
    ++round_;
  }
  changed_.notify_all();
  copy_share(0);
  std::unique_lock lock(mutex_);
  done_.wait(lock, [&] { return left_ == 0; });
}

void CopyPool::work(int index) {
  int64_t seen = 0;
  while (true) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return stopping_ || round_ != seen; });
      if (stopping_) return;
      seen = round_;
    }
    copy_share(index);
    const std::lock_guard lock(mutex_);
    if (--left_ == 0) done_.notify_one();
  }
}

}  // namespace zo2::cuda

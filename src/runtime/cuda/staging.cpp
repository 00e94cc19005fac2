#include "runtime/cuda/staging.h"

#include <cuda.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace zo2::cuda {
namespace {

constexpr int64_t kLine = 64;

// From the driver, through the runtime: nothing links to libcuda, which machines without a driver lack.
template <typename Function>
Function driver_function(const char* name) {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult result{};
  ZO2_CUDA_CHECK(cudaGetDriverEntryPointByVersion(name, &function, 12000, cudaEnableDefault, &result));
  ZO2_CHECK(function != nullptr, DeviceError, "the driver has no {}: use host: registered", name);
  return reinterpret_cast<Function>(function);
}

void check(CUresult code, const char* what) {
  ZO2_CHECK(code == CUDA_SUCCESS, DeviceError, "{} failed with error {}", what, static_cast<int>(code));
}

// The stream's later work waits until *word >= value.
void wait_value(cudaStream_t stream, uint32_t* word, uint32_t value) {
  static const auto function = driver_function<decltype(&cuStreamWaitValue32)>("cuStreamWaitValue32");
  check(function(stream, reinterpret_cast<CUdeviceptr>(word), value, CU_STREAM_WAIT_VALUE_GEQ), "cuStreamWaitValue32");
}

void write_value(cudaStream_t stream, uint32_t* word, uint32_t value) {
  static const auto function = driver_function<decltype(&cuStreamWriteValue32)>("cuStreamWriteValue32");
  check(function(stream, reinterpret_cast<CUdeviceptr>(word), value, CU_STREAM_WRITE_VALUE_DEFAULT),
        "cuStreamWriteValue32");
}

uint32_t load(const uint32_t* word) {
  return std::atomic_ref(*const_cast<uint32_t*>(word)).load(std::memory_order_acquire);
}

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

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
    if (at < bytes) std::memcpy(to + at, from + at, static_cast<size_t>(bytes - at));
    _mm_sfence();
    return;
  }
#endif
  if (bytes > 0) std::memcpy(to, from, static_cast<size_t>(bytes));
}

}  // namespace

struct Staging::Job {
  std::byte* to = nullptr;
  const std::byte* from = nullptr;
  int64_t bytes = 0;
  std::vector<const std::byte*> rows;  // packing: in place of `from`
  int64_t row_bytes = 0;
  const uint32_t* words[2] = {nullptr, nullptr};  // the job begins when both have reached their values
  uint32_t values[2] = {0, 0};
  std::atomic<int> left{0};  // threads that have not finished

  Job() = default;
  Job(Job&& other) noexcept
      : to(other.to), from(other.from), bytes(other.bytes), rows(std::move(other.rows)), row_bytes(other.row_bytes) {
    std::copy_n(other.words, 2, words);
    std::copy_n(other.values, 2, values);
  }
};

Staging::Staging(Way way, size_t pieces, int threads)
    : way_(way),
      pieces_(static_cast<uint32_t>(pieces)),
      ring_(static_cast<int64_t>(pieces) * kPieceBytes, "the staging ring"),
      words_(2 * kLine),
      done_by_cpu_(words_.as<uint32_t>()),
      shares_(std::max(1, threads)) {
  done_by_stream_ = reinterpret_cast<uint32_t*>(words_.as() + kLine);
  *done_by_cpu_ = *done_by_stream_ = 0;
  if (pieces > 0) {
    ring_.touch(shares_);
    registered_.emplace(ring_.data(), ring_.size(), "the staging ring");
  }
  for (int index = 0; index < shares_; ++index) threads_.emplace_back([this, index] { work(index); });
}

Staging::~Staging() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
}

void Staging::copy(std::byte* host, std::byte* device, int64_t bytes, const Staging* before, uint32_t count,
                   cudaStream_t stream) {
  for (int64_t at = 0; at < bytes; at += kPieceBytes) {
    const int64_t part = std::min(kPieceBytes, bytes - at);
    const uint32_t number = enqueued_ + 1;
    std::byte* piece = ring_.data() + enqueued_ % pieces_ * kPieceBytes;
    Job job;
    job.bytes = part;
    if (way_ == Way::up) {
      job.to = piece;
      job.from = host + at;
      if (number > pieces_) {  // the copy out of this piece before
        job.words[0] = done_by_stream_;
        job.values[0] = number - pieces_;
      }
      if (before != nullptr) {
        job.words[1] = before->done_by_cpu_;
        job.values[1] = count;
      }
      enqueue(std::move(job));
      wait_value(stream, done_by_cpu_, number);
      ZO2_CUDA_CHECK(cudaMemcpyAsync(device + at, piece, static_cast<size_t>(part), cudaMemcpyHostToDevice, stream));
      write_value(stream, done_by_stream_, number);
    } else {
      job.to = host + at;
      job.from = piece;
      job.words[0] = done_by_stream_;
      job.values[0] = number;
      enqueue(std::move(job));
      if (number > pieces_) wait_value(stream, done_by_cpu_, number - pieces_);
      ZO2_CUDA_CHECK(cudaMemcpyAsync(piece, device + at, static_cast<size_t>(part), cudaMemcpyDeviceToHost, stream));
      write_value(stream, done_by_stream_, number);
    }
  }
}

void Staging::pack(std::vector<const std::byte*> rows, int64_t row_bytes, std::byte* to, const Staging* before,
                   uint32_t count, cudaStream_t stream) {
  Job job;
  job.to = to;
  job.rows = std::move(rows);
  job.row_bytes = row_bytes;
  if (before != nullptr) {
    job.words[1] = before->done_by_cpu_;
    job.values[1] = count;
  }
  enqueue(std::move(job));
  wait_value(stream, done_by_cpu_, enqueued_);
}

void Staging::enqueue(Job job) {
  auto held = std::make_shared<Job>(std::move(job));
  held->left = shares_;
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(held));
    ++enqueued_;
  }
  changed_.notify_all();
}

void Staging::finish() const {
  while (load(done_by_cpu_) != enqueued_) std::this_thread::yield();
}

void Staging::wait_until(const uint32_t* word, uint32_t value) const {
  // A short spin, then naps: a piece takes the link half a millisecond, the ring holds several, and cores that spin are
  // missing to the copies.
  constexpr int kSpins = 500;
  for (int spins = 0; static_cast<int32_t>(load(word) - value) < 0 && !stopping_; ++spins) {
    if (spins < kSpins) {
      relax();
    } else {
      std::this_thread::sleep_for(std::chrono::microseconds(10));
    }
  }
}

void Staging::run_share(const Job& job, int index) const {
  if (!job.rows.empty()) {
    const auto rows = static_cast<int64_t>(job.rows.size());
    for (int64_t row = index * rows / shares_; row < (index + 1) * rows / shares_; ++row) {
      const std::byte* from = job.rows[static_cast<size_t>(row)];
      if (from != nullptr) std::memcpy(job.to + row * job.row_bytes, from, static_cast<size_t>(job.row_bytes));
    }
    return;
  }
  const int64_t share = (job.bytes / shares_ + kLine) / kLine * kLine;
  const int64_t begin = std::min(job.bytes, index * share);
  const int64_t end = index + 1 == shares_ ? job.bytes : std::min(job.bytes, begin + share);
  stream_copy(job.to + begin, job.from + begin, end - begin);
}

void Staging::work(int index) {
  for (uint32_t number = 1;; ++number) {
    std::shared_ptr<Job> job;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return stopping_ || number - first_ <= jobs_.size(); });
      if (stopping_) return;
      job = jobs_[number - first_ - 1];
    }
    for (int i = 0; i < 2; ++i) {
      if (job->words[i] != nullptr) wait_until(job->words[i], job->values[i]);
    }
    if (stopping_) return;
    run_share(*job, index);
    if (job->left.fetch_sub(1, std::memory_order_acq_rel) != 1) continue;
    {
      const std::lock_guard lock(mutex_);
      jobs_.pop_front();
      ++first_;
    }
    std::atomic_ref(*done_by_cpu_).store(number, std::memory_order_release);
  }
}

}  // namespace zo2::cuda

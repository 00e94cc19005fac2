// Test helpers: instruction sets and threads.
#pragma once

#include <cstdint>
#include <thread>
#include <vector>

#include "noise/simd.h"

namespace zo2 {

inline std::vector<SimdLevel> available_levels() {
  std::vector<SimdLevel> levels;
  for (int i = 0; i <= static_cast<int>(best_simd_level()); ++i) levels.push_back(static_cast<SimdLevel>(i));
  return levels;
}

// Forces a level for a scope.
class WithLevel {
 public:
  explicit WithLevel(SimdLevel level) : before_(simd_level()) { force_simd_level(level); }
  ~WithLevel() { force_simd_level(before_); }
  WithLevel(const WithLevel&) = delete;
  WithLevel& operator=(const WithLevel&) = delete;

 private:
  SimdLevel before_;
};

// Calls work(item, thread) for item = 0 .. count-1 on two threads.
template <class Work>
void on_two_threads(int64_t count, Work work) {
  std::vector<std::jthread> threads;
  for (int64_t thread = 0; thread < 2; ++thread) {
    threads.emplace_back([=, &work] {
      for (int64_t item = thread; item < count; item += 2) work(item, static_cast<int>(thread));
    });
  }
}

}  // namespace zo2

#include "noise/simd.h"

#include <atomic>

#include "base/error.h"

namespace zo2 {
namespace {

std::atomic<SimdLevel>& level_in_use() {
  static std::atomic<SimdLevel> level = best_simd_level();
  return level;
}

}  // namespace

std::string_view simd_level_name(SimdLevel level) {
  return level == SimdLevel::scalar ? "scalar" : level == SimdLevel::avx2 ? "avx2" : "avx512";
}

SimdLevel best_simd_level() {
#ifdef __x86_64__
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    return SimdLevel::avx512;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return SimdLevel::avx2;
#endif
  return SimdLevel::scalar;
}

SimdLevel simd_level() { return level_in_use().load(std::memory_order_relaxed); }

void force_simd_level(SimdLevel level) {
  ZO2_CHECK(level <= best_simd_level(), UsageError, "this machine cannot run {} code: its best level is {}",
            simd_level_name(level), simd_level_name(best_simd_level()));
  level_in_use().store(level, std::memory_order_relaxed);
}

}  // namespace zo2

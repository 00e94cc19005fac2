// Which instruction set fills noise arrays on the CPU. The bits never depend on it, only the speed; tests and
// benchmarks force a level to compare.
#pragma once

#include <cstdint>
#include <string_view>

namespace zo2 {

enum class SimdLevel : uint8_t { scalar, avx2, avx512 };

std::string_view simd_level_name(SimdLevel level);

// The widest level that this machine can run (avx2 wants AVX2 and FMA; avx512 wants F, DQ and VL).
SimdLevel best_simd_level();

// The level in use: best_simd_level() until forced.
SimdLevel simd_level();

// Uses `level` from now on, in all threads. Throws UsageError when the machine cannot run it.
void force_simd_level(SimdLevel level);

}  // namespace zo2

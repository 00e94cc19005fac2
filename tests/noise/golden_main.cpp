// Prints the golden hashes at every instruction set that the machine has, and exits 1 when one is wrong. Built alone by
// compilers_test.py, under many compilers and flags.
#include <cstdio>

#include "golden.h"
#include "noise/simd.h"

int main() {
  bool right = true;
  for (int level = 0; level <= static_cast<int>(zo2::best_simd_level()); ++level) {
    zo2::force_simd_level(static_cast<zo2::SimdLevel>(level));
    for (const zo2::GoldenCase& golden : zo2::kGoldenCases) {
      const std::string hash = zo2::golden_hash(golden);
      right = right && hash == golden.sha256;
      std::printf("%s %s: %s%s\n", zo2::simd_level_name(zo2::simd_level()).data(), golden.name, hash.c_str(),
                  hash == golden.sha256 ? "" : " WRONG");
    }
  }
  return right ? 0 : 1;
}

// The reference that the vector kernels must equal to the bit, and the only one on other architectures than x86-64.
#include "noise/kernels.h"
#include "noise/normal.h"

namespace zo2 {
namespace {

Philox4 block_words(const PhiloxRange& range, int64_t block) {
  Philox4 counter = range.first;
  counter.w0 += static_cast<uint32_t>(block);
  return philox4x32_10(counter, range.seed);
}

void normals(const PhiloxRange& range, int64_t groups, float* out) {
  for (int64_t block = 0; block < groups * kGroupBlocks; ++block, out += 4) {
    const Philox4 words = block_words(range, block);
    const NormalPair low = normal_pair(words.w0, words.w1);
    const NormalPair high = normal_pair(words.w2, words.w3);
    out[0] = low.first;
    out[1] = low.second;
    out[2] = high.first;
    out[3] = high.second;
  }
}

void words(const PhiloxRange& range, int64_t groups, uint32_t* out) {
  for (int64_t block = 0; block < groups * kGroupBlocks; ++block, out += 4) {
    const Philox4 words = block_words(range, block);
    out[0] = words.w0;
    out[1] = words.w1;
    out[2] = words.w2;
    out[3] = words.w3;
  }
}

void signs(const uint32_t* words, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i, out += 32) {
    for (uint32_t bit = 0; bit < 32; ++bit) out[bit] = rademacher_value(words[i], bit);
  }
}

}  // namespace

const NoiseKernels kScalarKernels = {normals, words, signs};

}  // namespace zo2

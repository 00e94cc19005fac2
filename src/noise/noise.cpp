#include "noise/noise.h"

#include <algorithm>
#include <array>
#include <cassert>

#include "noise/kernels.h"
#include "noise/normal.h"

namespace zo2 {
namespace {

// Words (and so signs) made at a time: small enough for the first cache level.
constexpr int64_t kSignGroups = 4;

const NoiseKernels& kernels() {
#ifdef __x86_64__
  switch (simd_level()) {
    case SimdLevel::avx512: return kAvx512Kernels;
    case SimdLevel::avx2: return kAvx2Kernels;
    case SimdLevel::scalar: break;
  }
#endif
  return kScalarKernels;
}

void check_range([[maybe_unused]] const NoiseKey& key, [[maybe_unused]] int64_t first_index,
                 [[maybe_unused]] size_t size) {
  assert(key.pair < kMaxPairs);
  assert(first_index >= 0 && first_index + static_cast<int64_t>(size) <= kMaxNoiseIndex);
}

PhiloxRange range_at(const NoiseKey& key, int64_t block) {
  return {noise_counter(key, static_cast<uint64_t>(block)), key.seed};
}

// Kernels count in 32 bits. Calls part(first_index, size, offset in the output) for pieces of the range that stay
// between two multiples of 2^32 blocks.
template <class Part>
void for_each_part(int64_t first_index, int64_t size, int64_t block_elements, Part part) {
  const int64_t span = block_elements << 32;
  for (int64_t done = 0; done < size;) {
    const int64_t index = first_index + done;
    const int64_t count = std::min(size - done, span - index % span);
    part(index, count, done);
    done += count;
  }
}

// Fills out[0, size) with elements first_index.. by a kernel that makes whole groups from the start of a block on. The
// ragged ends go through a group on the stack.
template <class T>
void fill_by_groups(void (*kernel)(const PhiloxRange&, int64_t, T*), const NoiseKey& key, int64_t first_index,
                    int64_t size, T* out) {
  const auto fill_end = [&](int64_t index, int64_t count, T* to) {
    alignas(64) std::array<T, kGroupWords> group;
    kernel(range_at(key, index / 4), 1, group.data());
    std::copy_n(group.begin() + index % 4, count, to);
  };
  int64_t done = 0;
  if (first_index % 4 != 0) {
    done = std::min(size, kGroupWords - first_index % 4);
    fill_end(first_index, done, out);
  }
  const int64_t groups = (size - done) / kGroupWords;
  kernel(range_at(key, (first_index + done) / 4), groups, out + done);
  done += groups * kGroupWords;
  if (done < size) fill_end(first_index + done, size - done, out + done);
}

void fill_signs(const NoiseKernels& kernels, const NoiseKey& key, int64_t first_index, int64_t size, float* out) {
  alignas(64) std::array<uint32_t, kSignGroups * kGroupWords> words;
  const int64_t end = first_index + size;
  for (int64_t index = first_index; index < end;) {
    const int64_t block = index / 128;
    const int64_t groups = std::min(kSignGroups, ((end - 1) / 128 - block) / kGroupBlocks + 1);
    kernels.words(range_at(key, block), groups, words.data());
    const int64_t origin = block * 128;  // the element of bit 0 of words[0]
    const int64_t stop = std::min(end, origin + groups * kGroupBlocks * 128);
    const auto fill_bitwise = [&](int64_t to) {
      for (; index < to; ++index) {
        const int64_t bit = index - origin;
        *out++ = rademacher_value(words[static_cast<size_t>(bit / 32)], static_cast<uint32_t>(bit % 32));
      }
    };
    fill_bitwise(std::min(stop, (index + 31) / 32 * 32));
    const int64_t whole_words = (stop - index) / 32;
    kernels.signs(words.data() + (index - origin) / 32, whole_words, out);
    index += whole_words * 32;
    out += whole_words * 32;
    fill_bitwise(stop);
  }
}

}  // namespace

void fill_noise(Distribution distribution, const NoiseKey& key, int64_t first_index, std::span<float> out) {
  check_range(key, first_index, out.size());
  const NoiseKernels& use = kernels();
  const bool gaussian = distribution == Distribution::gaussian;
  for_each_part(first_index, static_cast<int64_t>(out.size()), gaussian ? 4 : 128,
                [&](int64_t index, int64_t count, int64_t offset) {
                  if (gaussian) {
                    fill_by_groups(use.normals, key, index, count, out.data() + offset);
                  } else {
                    fill_signs(use, key, index, count, out.data() + offset);
                  }
                });
}

void fill_bits(const NoiseKey& key, int64_t first_index, std::span<uint32_t> out) {
  check_range(key, first_index, out.size());
  const NoiseKernels& use = kernels();
  for_each_part(first_index, static_cast<int64_t>(out.size()), 4, [&](int64_t index, int64_t count, int64_t offset) {
    fill_by_groups(use.words, key, index, count, out.data() + offset);
  });
}

uint64_t seed_at(uint64_t root_seed, uint64_t step) {
  const Philox4 words = philox4x32_10({static_cast<uint32_t>(step), static_cast<uint32_t>(Purpose::seed_sequence) << 28,
                                       0, static_cast<uint32_t>(step >> 32)},
                                      root_seed);
  return uint64_t{words.w1} << 32 | words.w0;
}

}  // namespace zo2

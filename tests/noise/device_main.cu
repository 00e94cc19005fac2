// philox.h and normal.h on a device: compares a grid's noise with the CPU's to the bit, and every square root that the
// noise can ask for with the rounded one, and prints the rate at which a kernel that keeps nothing draws.
// compilers_test.py compiles it wherever nvcc is, and runs it where a GPU is.
#include <cstdio>
#include <cstring>
#include <vector>

#include "noise/normal.h"
#include "noise/philox.h"

namespace {

// Block b fills out[8 b .. 8 b + 7]: four normals, then the block's four words as signs of bit 0 to 3.
__global__ void fill(zo2::NoiseKey key, uint64_t first_block, float* out, unsigned count) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const zo2::Philox4 words = zo2::philox4x32_10(zo2::noise_counter(key, first_block + i), key.seed);
  const zo2::NormalPair low = zo2::normal_pair(words.w0, words.w1);
  const zo2::NormalPair high = zo2::normal_pair(words.w2, words.w3);
  const float values[8] = {low.first,
                           low.second,
                           high.first,
                           high.second,
                           zo2::rademacher_value(words.w0, 0),
                           zo2::rademacher_value(words.w1, 1),
                           zo2::rademacher_value(words.w2, 2),
                           zo2::rademacher_value(words.w3, 3)};
  for (int j = 0; j < 8; ++j) out[size_t{8} * i + j] = values[j];
}

// Draws 4 * rounds normals a thread and writes only their sum.
__global__ void draw(zo2::NoiseKey key, int rounds, float* sums) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  float sum = 0;
  for (int round = 0; round < rounds; ++round) {
    const uint64_t block = uint64_t{static_cast<unsigned>(round)} * gridDim.x * blockDim.x + i;
    const zo2::Philox4 words = zo2::philox4x32_10(zo2::noise_counter(key, block), key.seed);
    const zo2::NormalPair low = zo2::normal_pair(words.w0, words.w1);
    const zo2::NormalPair high = zo2::normal_pair(words.w2, words.w3);
    sum += low.first + low.second + high.first + high.second;
  }
  sums[i] = sum;
}

// Counts the floats from 2^-60 to 2^60, and the zeros, whose root is not __fsqrt_rn's.
__global__ void check_roots(unsigned long long* different) {
  constexpr unsigned kFirst = (127u - 60) << 23;
  constexpr unsigned kLast = (127u + 60) << 23;
  const auto check = [&](float a) {
    if (__float_as_uint(zo2::exact::square_root(a)) != __float_as_uint(__fsqrt_rn(a))) atomicAdd(different, 1ULL);
  };
  const unsigned thread = blockIdx.x * blockDim.x + threadIdx.x;
  for (unsigned i = thread; i <= kLast - kFirst; i += gridDim.x * blockDim.x) check(__uint_as_float(kFirst + i));
  if (thread == 0) {
    check(0.0F);
    check(-0.0F);
  }
}

}  // namespace

int main() {
  const zo2::NoiseKey key = {0x9E2D4C6B8A01F357, zo2::Purpose::direction, 5, 129, 0};
  constexpr unsigned kCount = 1 << 24;  // blocks: about two pairs have radius 0
  constexpr uint64_t kFirst = (uint64_t{3} << 32) - kCount / 2;
  float* device = nullptr;
  if (cudaMalloc(&device, sizeof(float) * 8 * kCount) != cudaSuccess) {
    std::puts("no GPU");
    return 2;
  }
  fill<<<kCount / 256, 256>>>(key, kFirst, device, kCount);
  std::vector<float> values(size_t{8} * kCount);
  if (cudaMemcpy(values.data(), device, sizeof(float) * values.size(), cudaMemcpyDeviceToHost) != cudaSuccess) return 2;
  size_t different = 0;
  for (unsigned i = 0; i < kCount; ++i) {
    const zo2::Philox4 words = zo2::philox4x32_10(zo2::noise_counter(key, kFirst + i), key.seed);
    const zo2::NormalPair low = zo2::normal_pair(words.w0, words.w1);
    const zo2::NormalPair high = zo2::normal_pair(words.w2, words.w3);
    const float expected[8] = {low.first,
                               low.second,
                               high.first,
                               high.second,
                               zo2::rademacher_value(words.w0, 0),
                               zo2::rademacher_value(words.w1, 1),
                               zo2::rademacher_value(words.w2, 2),
                               zo2::rademacher_value(words.w3, 3)};
    different += std::memcmp(expected, &values[size_t{8} * i], sizeof(expected)) != 0;
  }
  std::printf("%zu of %u blocks differ from the CPU\n", different, kCount);

  unsigned long long* roots = nullptr;
  if (cudaHostAlloc(reinterpret_cast<void**>(&roots), sizeof(*roots), cudaHostAllocDefault) != cudaSuccess) return 2;
  *roots = 0;
  check_roots<<<1024, 256>>>(roots);
  if (cudaDeviceSynchronize() != cudaSuccess) return 2;
  std::printf("%llu square roots differ from the rounded ones\n", *roots);
  different += *roots;

  constexpr int kThreads = 132 * 2048 * 8;
  constexpr int kRounds = 1024;
  cudaEvent_t start, stop;
  cudaEventCreate(&start);
  cudaEventCreate(&stop);
  draw<<<kThreads / 256, 256>>>(key, kRounds, device);
  cudaEventRecord(start);
  draw<<<kThreads / 256, 256>>>(key, kRounds, device);
  cudaEventRecord(stop);
  cudaEventSynchronize(stop);
  float milliseconds = 0;
  cudaEventElapsedTime(&milliseconds, start, stop);
  std::printf("%.0f Gnormal/s\n", 4.0 * kThreads * kRounds / milliseconds * 1e-6);
  return different == 0 && cudaGetLastError() == cudaSuccess ? 0 : 1;
}

// The language check: what the CUDA sources rely on compiles for every architecture of the build. C++20 (concepts,
// lambdas with template parameters), fp16 and bf16 in one template, NVTX, and the noise headers unchanged. Nothing
// calls it. The kernel is the visit of a tile in its simplest form, one element a thread.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <nvtx3/nvToolsExt.h>

#include <concepts>
#include <cstdint>

#include "noise/normal.h"
#include "noise/philox.h"

namespace zo2 {

static_assert(__cplusplus >= 202002L, "CUDA sources are C++20");
#if defined(__CUDA_ARCH__)
static_assert(__CUDA_ARCH__ >= 800, "bf16 needs compute capability 8.0");
#endif

template <typename T>
concept WeightType = std::same_as<T, float> || std::same_as<T, __half> || std::same_as<T, __nv_bfloat16>;

// plus[i], minus[i] = round(w[i] +- eps * z[i])    w, plus, minus: [count]
template <WeightType T>
__global__ void check_perturb(const T* w, T* plus, T* minus, NoiseKey key, float eps, int64_t count) {
  const auto block_noise = [&]<std::integral Index>(Index block) {
    const Philox4 words = philox4x32_10(noise_counter(key, block), key.seed);
    return normal_pair(words.w0, words.w1);
  };
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const float z = block_noise(static_cast<uint64_t>(i)).first;
  plus[i] = static_cast<T>(exact::fused(eps, z, static_cast<float>(w[i])));
  minus[i] = static_cast<T>(exact::fused(-eps, z, static_cast<float>(w[i])));
}

template <WeightType T>
void check_launch(const T* w, T* plus, T* minus, const NoiseKey& key, float eps, int64_t count, cudaStream_t stream) {
  nvtxRangePushA("language check");
  check_perturb<<<static_cast<unsigned>((count + 255) / 256), 256, 0, stream>>>(w, plus, minus, key, eps, count);
  nvtxRangePop();
}

template void check_launch(const float*, float*, float*, const NoiseKey&, float, int64_t, cudaStream_t);
template void check_launch(const __half*, __half*, __half*, const NoiseKey&, float, int64_t, cudaStream_t);
template void check_launch(const __nv_bfloat16*, __nv_bfloat16*, __nv_bfloat16*, const NoiseKey&, float, int64_t,
                           cudaStream_t);

}  // namespace zo2

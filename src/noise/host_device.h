// The few exact operations that the noise is built from, under one name for host and device. Each is rounded once, to
// nearest, as IEEE 754 says, so that its bits are the same everywhere; a product is fused into a sum only by fused().
// Never add to the result of product() in the same expression without fused(): -ffp-contract=off protects only files
// compiled with it.
#pragma once

#include <bit>
#include <cstdint>

#ifdef __CUDACC__
#define ZO2_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define ZO2_HOST_DEVICE inline
#endif

namespace zo2::exact {

#ifdef __CUDACC__
// The hardware's reciprocal square root.
__device__ __forceinline__ float reciprocal_root(float a) {
  float result;
  asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(a));
  return result;
}
#endif

// a * b + c, rounded once.
ZO2_HOST_DEVICE float fused(float a, float b, float c) {
#ifdef __CUDA_ARCH__
  return __fmaf_rn(a, b, c);
#else
  return __builtin_fmaf(a, b, c);
#endif
}

ZO2_HOST_DEVICE float product(float a, float b) {
#ifdef __CUDA_ARCH__
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}

// For a = 0 or 2^-60 <= a <= 2^60. On the device the Newton step that __fsqrt_rn does in that range, without its branch
// for others: a branch keeps the compiler from interleaving several roots. Equal to __fsqrt_rn for every such float
// (tests/noise/device_main.cu goes through all).
ZO2_HOST_DEVICE float square_root(float a) {
#ifdef __CUDA_ARCH__
  const float inverse = reciprocal_root(fmaxf(a, 0x1p-60F));
  const float root = __fmul_rn(a, inverse);
  return __fmaf_rn(__fmaf_rn(-root, root, a), __fmul_rn(0.5F, inverse), root);
#else
  return __builtin_sqrtf(a);
#endif
}

ZO2_HOST_DEVICE float from_int(int32_t a) {
#ifdef __CUDA_ARCH__
  return __int2float_rn(a);
#else
  return static_cast<float>(a);
#endif
}

ZO2_HOST_DEVICE uint32_t bits_of(float a) {
#ifdef __CUDA_ARCH__
  return __float_as_uint(a);
#else
  return std::bit_cast<uint32_t>(a);
#endif
}

ZO2_HOST_DEVICE float from_bits(uint32_t a) {
#ifdef __CUDA_ARCH__
  return __uint_as_float(a);
#else
  return std::bit_cast<float>(a);
#endif
}

// The high half of the 64-bit product.
ZO2_HOST_DEVICE uint32_t high_product(uint32_t a, uint32_t b) {
#ifdef __CUDA_ARCH__
  return __umulhi(a, b);
#else
  return static_cast<uint32_t>((uint64_t{a} * b) >> 32);
#endif
}

}  // namespace zo2::exact

// e^x by the operations of kernels/cpu/simd.h, so that both backends have its bits; a hash; and the sums of a warp and of a
// block in an order that is a function of their size alone.
#pragma once

#include "kernels/cuda/device.cuh"

namespace zazen::cuda {

__device__ __forceinline__ float larger(float a, float b) { return a > b ? a : b; }
__device__ __forceinline__ float smaller(float a, float b) { return a < b ? a : b; }

// x = n ln 2 + r, polynomial of degree 6 in r (about 1 ulp). exp(0) is exactly 1; below -87.33654 zero; NaN stays NaN.
__device__ __forceinline__ float exponential(float x) {
  constexpr float kLowest = -87.33654f, kHighest = 88.3f;
  const float bounded = smaller(kHighest, larger(kLowest, x));
  const float n = rintf(bounded * 1.44269504f);
  float r = fmaf(n, -0.693359375f, bounded);
  r = fmaf(n, 2.12194440e-4f, r);
  float p = 1.9875691500e-4f;
  p = fmaf(p, r, 1.3981999507e-3f);
  p = fmaf(p, r, 8.3334519073e-3f);
  p = fmaf(p, r, 4.1665795894e-2f);
  p = fmaf(p, r, 1.6666665459e-1f);
  p = fmaf(p, r, 5.0000001201e-1f);
  p = fmaf(p, r * r, r) + 1.0f;
  const int exponent = n == n ? static_cast<int>(n) : 0;
  return x < kLowest ? 0.0f : p * __uint_as_float(static_cast<unsigned>(exponent + 127) << 23);
}

// The logistic function and its logarithm in double, as kernels/cpu/logistic.h. softplus: log(1 + e^x) = -log sigmoid(-x).
__device__ __forceinline__ double softplus(double x) { return (x > 0.0 ? x : 0.0) + log1p(exp(x > 0.0 ? -x : x)); }
__device__ __forceinline__ double sigmoid(double x) {
  const double e = exp(x > 0.0 ? -x : x);
  return (x > 0.0 ? 1.0 : e) / (1.0 + e);
}

// A mix of 32 bits in which every input bit reaches every output bit (Wellons 2018, "lowbias32").
__device__ __forceinline__ uint32_t mixed(uint32_t x) {
  x = (x ^ x >> 16) * 0x7FEB352Du;
  x = (x ^ x >> 15) * 0x846CA68Bu;
  return x ^ x >> 16;
}

// Of the segment of `Width` lanes that a lane is in; every lane has the sum: lanes are joined with those 1, 2, 4 ... away.
template <int Width = kWarp, class T>
__device__ __forceinline__ T lanes_sum(T value) {
#pragma unroll
  for (int away = 1; away < Width; away *= 2) value = value + __shfl_xor_sync(kWholeWarp, value, away);
  return value;
}
template <int Width = kWarp>
__device__ __forceinline__ float lanes_max(float value) {
#pragma unroll
  for (int away = 1; away < Width; away *= 2) value = larger(value, __shfl_xor_sync(kWholeWarp, value, away));
  return value;
}

// Sum over a block of Warps warps, by warp and then by the order of warps; every thread has it. `room` may be used again after
// the block's next barrier.
template <int Warps, class T>
__device__ __forceinline__ T block_sum(T value, T (&room)[Warps]) {
  value = lanes_sum(value);
  if (threadIdx.x % kWarp == 0) room[threadIdx.x / kWarp] = value;
  __syncthreads();
  T total = room[0];
#pragma unroll
  for (int warp = 1; warp < Warps; ++warp) total = total + room[warp];
  return total;
}

// The largest over a block, as block_sum.
template <int Warps>
__device__ __forceinline__ float block_max(float value, float (&room)[Warps]) {
  value = lanes_max(value);
  if (threadIdx.x % kWarp == 0) room[threadIdx.x / kWarp] = value;
  __syncthreads();
  float top = room[0];
#pragma unroll
  for (int warp = 1; warp < Warps; ++warp) top = larger(room[warp], top);
  return top;
}

}  // namespace zazen::cuda

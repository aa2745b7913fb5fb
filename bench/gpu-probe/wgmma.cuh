// One tile of a product, 64 x 8, by a chain of wgmma (Hopper) and by the same chain of mma.sync: do their bits agree? Both take
// k in steps of 16, in order, into f32 accumulators that start from zero.
#pragma once

#include "kernels/cuda/launch.cuh"

namespace zazen::probe {

constexpr int kTileRows = 64, kTileColumns = 8, kStep = 16, kWarpgroup = 128;

// One step's operands in core matrices of 8 rows x 16 bytes: first all rows at k 0 .. 7, then at k 8 .. 15.
struct WgmmaShared {
  bf16 a[2][kTileRows / 8][8][8], b[2][kTileColumns / 8][8][8];
};

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
// Of a matrix with k along its rows, without swizzle (PTX ISA, "Asynchronous warpgroup level matrix shared memory layout"):
// bits 0 .. 13 the address, 16 .. 29 the leading offset, which is that of core matrices along k, 32 .. 45 the stride offset,
// which is that along rows, each in units of 16 bytes; 49 .. 51 the base offset and 62 .. 63 the swizzle, both zero.
__device__ __forceinline__ uint64_t descriptor(const void* matrix, int along_k, int along_rows) {
  const uint64_t address = static_cast<uint32_t>(__cvta_generic_to_shared(matrix));
  return (address & 0x3FFFF) >> 4 | static_cast<uint64_t>(along_k >> 4) << 16 | static_cast<uint64_t>(along_rows >> 4) << 32;
}
#endif

// d [64, 8] = a [64, K] b [8, K]^T by one warpgroup.
__global__ void wgmma_chain(float* d, const bf16* a, const bf16* b, int K) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  auto& shared = cuda::shared_memory<WgmmaShared>();
  constexpr int kCore = 128;  // bytes
  float sum[4] = {};
  for (int k = 0; k < K; k += kStep) {
    __syncthreads();
    for (int i = threadIdx.x; i < kTileRows * kStep; i += kWarpgroup)
      shared.a[i % kStep / 8][i / kStep / 8][i / kStep % 8][i % 8] = a[i / kStep * K + k + i % kStep];
    for (int i = threadIdx.x; i < kTileColumns * kStep; i += kWarpgroup)
      shared.b[i % kStep / 8][i / kStep / 8][i / kStep % 8][i % 8] = b[i / kStep * K + k + i % kStep];
    asm volatile("fence.proxy.async;" ::: "memory");
    __syncthreads();
    const uint64_t left = descriptor(shared.a, kTileRows / 8 * kCore, kCore),
                   right = descriptor(shared.b, kTileColumns / 8 * kCore, kCore);
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
    asm volatile("wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%0, %1, %2, %3}, %4, %5, 1, 1, 1, 0, 0;"
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                 : "l"(left), "l"(right));
    asm volatile("wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0;" ::: "memory");
  }
  const int row = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4, column = threadIdx.x % 4 * 2;
  for (int i = 0; i < 4; ++i) d[(row + i / 2 * 8) * kTileColumns + column + i % 2] = sum[i];
#endif
}

// The same by mma.sync, a warp for 16 rows.
__global__ void mma_chain(float* d, const bf16* a, const bf16* b, int K) {
  const int row = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4, pair = threadIdx.x % 4 * 2, column = threadIdx.x % 32 / 4;
  const auto two = [&](const bf16* at) { return static_cast<uint32_t>(at[0].bits) | static_cast<uint32_t>(at[1].bits) << 16; };
  float sum[4] = {};
  for (int k = 0; k < K; k += kStep) {
    const bf16 *top = a + row * K + k + pair, *low = top + 8 * K, *right = b + column * K + k + pair;
    const uint32_t left[4] = {two(top), two(low), two(top + 8), two(low + 8)};
    cuda::multiply_add(sum, left, two(right), two(right + 8));
  }
  for (int i = 0; i < 4; ++i) d[(row + i / 2 * 8) * kTileColumns + pair + i % 2] = sum[i];
}

}  // namespace zazen::probe

// What every kernel file includes: the CUDA language, by nvcc or, for a host compiler, by the emulator (ZAZEN_EMULATION); and
// the few things that CUDA spells in PTX. Each has the same name, meaning and checks of its operands in both.
#pragma once

#if defined(ZAZEN_EMULATION)
#include "emulation/cuda.h"
#else
#include <cuda_runtime.h>
#endif

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"

namespace zazen::cuda {

constexpr int kWarp = 32;
constexpr unsigned kWholeWarp = 0xFFFFFFFF;

// The block's shared memory as one struct of plain arrays. A kernel has one such struct, and its launch passes its size.
template <class Layout>
__device__ Layout& shared_memory() {
#if defined(ZAZEN_EMULATION)
  return *static_cast<Layout*>(emulation::shared_memory(sizeof(Layout)));
#else
  extern __shared__ __align__(128) unsigned char shared_bytes[];
  return *reinterpret_cast<Layout*>(shared_bytes);
#endif
}

// 16 bytes at an address that is a multiple of 16.
__device__ __forceinline__ uint4 load_16(const void* from) {
#if defined(ZAZEN_EMULATION)
  emulation::access(from, sizeof(uint4), false, sizeof(uint4), __builtin_return_address(0));
#endif
  return *static_cast<const uint4*>(from);
}
__device__ __forceinline__ void store_16(void* to, uint4 value) {
#if defined(ZAZEN_EMULATION)
  emulation::access(to, sizeof(uint4), true, sizeof(uint4), __builtin_return_address(0));
#endif
  *static_cast<uint4*>(to) = value;
}

// f32 of a bf16's bits, and back: to nearest, ties to even; a NaN stays one. The same as bf16_to_f32 and f32_to_bf16.
__device__ __forceinline__ float widen(unsigned bits) { return __uint_as_float(bits << 16); }
__device__ __forceinline__ unsigned narrow(float value) {
  const unsigned bits = __float_as_uint(value);
  return value != value ? bits >> 16 | 0x40 : (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
}

// Two of them, the first in the low half, by one instruction; every NaN becomes the same one.
__device__ __forceinline__ uint32_t narrow_pair(float low, float high) {
#if defined(ZAZEN_EMULATION)
  return narrow(low) | narrow(high) << 16;
#else
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#endif
}

// 2^x by the special function unit: within 2^-22, exp2_fast(0) is exactly 1, below 2^-126 zero; NaN stays NaN.
__device__ __forceinline__ float exp2_fast(float x) {
#if defined(ZAZEN_EMULATION)
  return std::exp2(x);
#else
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#endif
}

__device__ __forceinline__ float get(const float* p) { return *p; }
__device__ __forceinline__ float get(const bf16* p) { return widen(p->bits); }
__device__ __forceinline__ void put(float* p, float value) { *p = value; }
__device__ __forceinline__ void put(bf16* p, float value) { p->bits = static_cast<uint16_t>(narrow(value)); }

// ldmatrix: four matrices of 8 x 8 b16 of shared memory; lane l names row l % 8 of matrix l / 8. `Transposed` exchanges rows
// and columns of each.
template <bool Transposed = false>
__device__ __forceinline__ void load_matrices(uint32_t (&registers)[4], const void* row) {
#if defined(ZAZEN_EMULATION)
  emulation::load_matrices(registers, 4, Transposed, row, emulation::Place::here());
#else
  const uint32_t at = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  if constexpr (Transposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
                 : "r"(at)
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
                 : "r"(at)
                 : "memory");
#endif
}

// mma.sync m16n8k16: sum [16, 8] += a [16, 16] b [16, 8], bf16 in and f32 out, in the fragment layout of the PTX manual.
__device__ __forceinline__ void multiply_add(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#if defined(ZAZEN_EMULATION)
  const uint32_t b[2] = {b0, b1};
  emulation::multiply_16_8_16(sum, a, b, sum, emulation::Place::here());
#else
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}

// cp.async: 16 bytes from device to shared memory, past L1, of which those from `valid` on (0 .. 16) become zero. They are
// there for this thread after wait_for_copies, and for others after a barrier behind that.
__device__ __forceinline__ void copy_async(void* target, const void* source, int valid = 16) {
#if defined(ZAZEN_EMULATION)
  emulation::copy_async(target, source, 16, static_cast<size_t>(valid));
#else
  const uint32_t at = static_cast<uint32_t>(__cvta_generic_to_shared(target));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(source), "r"(valid) : "memory");
#endif
}
// The same of one f32, which becomes zero when it is not valid.
__device__ __forceinline__ void copy_async(float* target, const float* source, bool valid) {
#if defined(ZAZEN_EMULATION)
  emulation::copy_async(target, source, sizeof(float), valid ? sizeof(float) : 0);
#else
  const uint32_t at = static_cast<uint32_t>(__cvta_generic_to_shared(target));
  const int bytes = valid ? 4 : 0;
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(at), "l"(source), "r"(bytes) : "memory");
#endif
}
__device__ __forceinline__ void commit_copies() {
#if defined(ZAZEN_EMULATION)
  emulation::commit_copies();
#else
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
// Until at most GroupsLeft of the committed groups are under way.
template <int GroupsLeft>
__device__ __forceinline__ void wait_for_copies() {
#if defined(ZAZEN_EMULATION)
  emulation::wait_for_copies(GroupsLeft);
#else
  asm volatile("cp.async.wait_group %0;" ::"n"(GroupsLeft) : "memory");
#endif
}

}  // namespace zazen::cuda

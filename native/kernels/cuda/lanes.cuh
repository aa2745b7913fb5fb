// Arrays in steps of eight elements, the unit of work of a thread. Where they are aligned, eight elements are one load of 16
// bytes (bf16) or two (f32); else, and at the end of an array, they are read one by one. Both give the same values, so the
// choice is one of speed.
#pragma once

#include "core/tensor.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/kernels.h"

namespace zazen::cuda {

constexpr int kEight = 8;
constexpr int64_t kVectorBytes = 16;

struct Eight {
  float v[kEight];
};

__device__ __forceinline__ Eight load_whole(const float* p) {
  const uint4 a = load_16(p), b = load_16(p + 4);
  return {__uint_as_float(a.x), __uint_as_float(a.y), __uint_as_float(a.z), __uint_as_float(a.w),
          __uint_as_float(b.x), __uint_as_float(b.y), __uint_as_float(b.z), __uint_as_float(b.w)};
}
__device__ __forceinline__ Eight load_whole(const bf16* p) {
  const uint4 a = load_16(p);
  return {widen(a.x & 0xFFFF), widen(a.x >> 16), widen(a.y & 0xFFFF), widen(a.y >> 16),
          widen(a.z & 0xFFFF), widen(a.z >> 16), widen(a.w & 0xFFFF), widen(a.w >> 16)};
}
__device__ __forceinline__ void store_whole(float* p, const Eight& a) {
  store_16(p, {__float_as_uint(a.v[0]), __float_as_uint(a.v[1]), __float_as_uint(a.v[2]), __float_as_uint(a.v[3])});
  store_16(p + 4, {__float_as_uint(a.v[4]), __float_as_uint(a.v[5]), __float_as_uint(a.v[6]), __float_as_uint(a.v[7])});
}
// As bf16.
__device__ __forceinline__ uint4 packed(const Eight& a) {
  return {narrow(a.v[0]) | narrow(a.v[1]) << 16, narrow(a.v[2]) | narrow(a.v[3]) << 16, narrow(a.v[4]) | narrow(a.v[5]) << 16,
          narrow(a.v[6]) | narrow(a.v[7]) << 16};
}
__device__ __forceinline__ void store_whole(bf16* p, const Eight& a) { store_16(p, packed(a)); }

// `left` elements of an array lie from p on; those past them load as zero and are not stored. `Aligned`: p is a multiple of 16
// bytes.
template <bool Aligned, class T>
__device__ __forceinline__ Eight load_eight(const T* p, int64_t left) {
  if (Aligned && left >= kEight) return load_whole(p);
  Eight a;
  for (int i = 0; i < kEight; ++i) a.v[i] = i < left ? get(p + i) : 0.0f;
  return a;
}
template <bool Aligned, class T>
__device__ __forceinline__ void store_eight(T* p, const Eight& a, int64_t left) {
  if (Aligned && left >= kEight) return store_whole(p, a);
  for (int i = 0; i < kEight; ++i)
    if (i < left) put(p + i, a.v[i]);
}

// f(i) -> float for each of eight elements.
template <class F>
__device__ __forceinline__ Eight each(const F& f) {
  Eight a;
#pragma unroll
  for (int i = 0; i < kEight; ++i) a.v[i] = f(i);
  return a;
}

// Threads of a block that works on one row or on a piece of an array, and the first element of a thread of the latter.
constexpr int kThreads = 256, kWarps = kThreads / kWarp;
__device__ __forceinline__ int64_t first_element() {
  return (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kEight;
}
// Calls body(h, left) for what a thread has of a row of H elements: eight from 8 j on of every 2,048.
template <class Body>
__device__ __forceinline__ void for_row(int64_t H, const Body& body) {
  for (int64_t h = static_cast<int64_t>(threadIdx.x) * kEight; h < H; h += kThreads * kEight) body(h, H - h);
}

// ---- on the host

// Whether arrays start at multiples of 16 bytes.
template <class... Pointers>
bool all_aligned(const Pointers*... starts) {
  return ((reinterpret_cast<uintptr_t>(starts) % kVectorBytes == 0) && ...);
}
// Whether all rows of n elements do.
template <class... Pointers>
bool aligned_rows(int64_t n, const Pointers*... starts) {
  return n % kEight == 0 && all_aligned(starts...);
}
template <bool Value>
struct Flag {};
// Calls body(Flag<flag>{}).
template <class Body>
void with_flag(bool flag, const Body& body) {
  flag ? body(Flag<true>{}) : body(Flag<false>{});
}
inline Grid flat_grid(int64_t n) { return {.x = ceil_div(n, kThreads * kEight), .threads = kThreads}; }

}  // namespace zazen::cuda

// The part of the CUDA language that the kernels use, for a host compiler. Under nvcc it comes from CUDA itself.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "emulation/emulation.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__

using dim3 = emulation::Dim3;
#define threadIdx (emulation::thread_index())
#define blockIdx (emulation::block_index())
#define blockDim (emulation::block_size())
#define gridDim (emulation::grid_size())

struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};

inline void __syncthreads(emulation::Place at = emulation::Place::here()) { emulation::sync_threads(at); }
inline void __syncwarp(unsigned mask = 0xFFFFFFFF, emulation::Place at = emulation::Place::here()) {
  emulation::sync_warp(mask, at);
}

namespace emulation {

template <class T>
uint64_t to_bits(T value) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
  using Bits = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  return std::bit_cast<Bits>(value);
}
template <class T>
T from_bits(uint64_t bits) {
  using Bits = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  return std::bit_cast<T>(static_cast<Bits>(bits));
}
// The lane of the own segment of `width` lanes that `offset` is.
inline int in_segment(int offset, int width) { return lane_index() / width * width + offset; }

}  // namespace emulation

// A source lane must be inside its segment: CUDA would wrap it, which hides mistakes.
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, emulation::Place at = emulation::Place::here()) {
  if (source < 0 || source >= width)
    emulation::fail(at, [&] { return "reads lane " + std::to_string(source) + " by __shfl_sync, out of range"; });
  const int lane = emulation::in_segment(source, width);
  return emulation::from_bits<T>(emulation::shuffle("__shfl_sync", mask, emulation::to_bits(value), lane, at));
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, emulation::Place at = emulation::Place::here()) {
  const int own = emulation::lane_index() % width;
  if ((own ^ lanes) >= width)
    emulation::fail(at, [&] { return "reads lane " + std::to_string(own ^ lanes) + " by __shfl_xor_sync, out of range"; });
  const int lane = emulation::in_segment(own ^ lanes, width);
  return emulation::from_bits<T>(emulation::shuffle("__shfl_xor_sync", mask, emulation::to_bits(value), lane, at));
}
// Lanes without one before or after them keep their own value.
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32, emulation::Place at = emulation::Place::here()) {
  const int own = emulation::lane_index() % width, from = own - static_cast<int>(by);
  const int lane = from < 0 ? -1 : emulation::in_segment(from, width);
  return emulation::from_bits<T>(emulation::shuffle("__shfl_up_sync", mask, emulation::to_bits(value), lane, at));
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32, emulation::Place at = emulation::Place::here()) {
  const int own = emulation::lane_index() % width, from = own + static_cast<int>(by);
  const int lane = from >= width ? -1 : emulation::in_segment(from, width);
  return emulation::from_bits<T>(emulation::shuffle("__shfl_down_sync", mask, emulation::to_bits(value), lane, at));
}
inline unsigned __ballot_sync(unsigned mask, int predicate, emulation::Place at = emulation::Place::here()) {
  return emulation::ballot("__ballot_sync", mask, predicate != 0, at);
}

inline float __uint_as_float(unsigned bits) { return std::bit_cast<float>(bits); }
inline unsigned __float_as_uint(float value) { return std::bit_cast<unsigned>(value); }
inline int __ffs(unsigned bits) { return __builtin_ffs(static_cast<int>(bits)); }
inline int __clz(int bits) { return __builtin_clz(static_cast<unsigned>(bits)); }
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
using std::ceil, std::exp, std::fabs, std::fma, std::fmax, std::log, std::log1p, std::sqrt;

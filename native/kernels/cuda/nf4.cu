// 4-bit NormalFloat (kernels/cpu/nf4.cc, whose bits these are). A thread takes eight numbers, and eight lanes a block of 64.
// Limit: memory bandwidth; a number moves half a byte of codes, a sixteenth of a byte of scales, and itself.
#include "kernels/cuda/block_scale.cuh"
#include "kernels/cuda/ops.h"

namespace zazen::cuda {
namespace {

constexpr int kLanes = static_cast<int>(kNf4Block) / kEight;

// Bits of a byte's two codes in a word of eight, the first number in the upper half.
__device__ __forceinline__ int shift_of(int i) { return i / 2 * 8 + (i % 2 ? 0 : 4); }

template <bool Aligned, class T>
__global__ void __launch_bounds__(kThreads)
    quantize_kernel(uint8_t* codes, float* largest, const T* x, int64_t n, const Nf4Map map) {
  const int64_t at = first_element(), left = n - at;
  const Eight a = load_eight<Aligned>(x + at, left);
  const BlockScale scale = block_scale<kLanes>(a);
  uint32_t word = 0;
#pragma unroll
  for (int i = 0; i < kEight; ++i) {
    uint32_t code = 0;
#pragma unroll
    for (int edge = 0; edge < 15; ++edge) code += map.edges[edge] < a.v[i] * scale.inverse ? 1 : 0;
    word |= code << shift_of(i);
  }
  if (left <= 0) return;
  if (at % kNf4Block == 0) largest[at / kNf4Block] = scale.largest;
  if (Aligned && left >= kEight) {
    *reinterpret_cast<uint32_t*>(codes + at / 2) = word;
    return;
  }
  for (int i = 0; i < kEight && i < left; i += 2) codes[(at + i) / 2] = static_cast<uint8_t>(word >> i / 2 * 8);
}

template <bool Aligned, class T>
__global__ void __launch_bounds__(kThreads)
    dequantize_kernel(T* out, const uint8_t* codes, const float* largest, int64_t n, const __grid_constant__ Nf4Map map) {
  Nf4Map& shared = shared_memory<Nf4Map>();
  if (threadIdx.x < 16) shared.levels[threadIdx.x] = map.levels[threadIdx.x];
  __syncthreads();
  const int64_t at = first_element(), left = n - at;
  if (left <= 0) return;
  uint32_t word = 0;
  if (Aligned && left >= kEight)
    word = *reinterpret_cast<const uint32_t*>(codes + at / 2);
  else
    for (int i = 0; i < kEight && i < left; i += 2) word |= static_cast<uint32_t>(codes[(at + i) / 2]) << i / 2 * 8;
  const float scale = largest[at / kNf4Block];
  store_eight<Aligned>(out + at, each([&](int i) { return shared.levels[word >> shift_of(i) & 0xF] * scale; }), left);
}

}  // namespace

void nf4_quantize(ThreadPool&, uint8_t* codes, float* largest, TensorView x, int64_t n) {
  with_type(x, [&]<class T>(const T* in) {
    with_flag(all_aligned(in, codes), [&]<bool aligned>(Flag<aligned>) {
      launch({"nf4_quantize", {{"n", n}}}, quantize_kernel<aligned, T>, flat_grid(n), codes, largest, in, n, kNf4Map);
    });
  });
}

void nf4_dequantize(ThreadPool&, TensorRef out, const uint8_t* codes, const float* largest, int64_t n) {
  with_type(out, [&]<class T>(T* to) {
    with_flag(all_aligned(to, codes), [&]<bool aligned>(Flag<aligned>) {
      Grid grid = flat_grid(n);
      grid.shared_bytes = sizeof(Nf4Map);
      launch({"nf4_dequantize", {{"n", n}}}, dequantize_kernel<aligned, T>, grid, to, codes, largest, n, kNf4Map);
    });
  });
}

}  // namespace zazen::cuda

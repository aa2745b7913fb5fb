// Tiles of bf16 operands in shared memory, and the fragments that a warp's matrix instructions take from them.
//
// An operand of a product has Rows of the output's dimension and depth k. In memory it lies with k along its rows (KMajor: x
// and W of y = x W^T), or with k across them (dy and x of dW = dy^T x). A tile keeps that direction: [Rows][Depth], or
// [Depth][Rows]. It is filled in chunks of 16 bytes, which are permuted within a row so that the eight rows of an ldmatrix lie
// in different banks. What is outside of the operand becomes zero.
#pragma once

#include "kernels/cuda/lanes.cuh"

namespace zazen::cuda {

template <class E>
struct Operand {
  const E* data;
  int64_t ld;     // elements from one row in memory to the next
  int64_t rows;   // of the output's dimension
  int64_t depth;  // of k
};

template <int Rows, int Depth, bool KMajor>
struct Tile {
  static constexpr int kLines = KMajor ? Rows : Depth;              // rows as they lie
  static constexpr int kChunks = (KMajor ? Depth : Rows) / kEight;  // in a line
  static constexpr int kElements = Rows * Depth;
  static_assert(kChunks % 4 == 0, "four chunks, or a multiple of eight, are permuted");

  // Where a chunk lies. Lines of four chunks lie two to a row of banks.
  static __device__ __forceinline__ int place(int line, int chunk) {
    const int turned = kChunks == 4 ? chunk ^ (line / 2 % 4) : chunk ^ (line % 8);
    return (line * kChunks + turned) * kEight;
  }
  // From chunk 0 or 1 of one of the first 16 lines, an address in a tile at a multiple of 128 bytes, to that `lines` and
  // `chunks` further on, multiples of 16 and of 2. In these steps addresses differ by constants, so that a loop keeps few of
  // them.
  static __device__ __forceinline__ const bf16* moved(const bf16* at, int lines, int chunks) {
    constexpr int kTurns = kChunks == 4 ? 4 : 8;  // chunks of which the permutation is
    const uintptr_t turned = reinterpret_cast<uintptr_t>(at) ^ static_cast<uintptr_t>(chunks % kTurns * kEight * sizeof(bf16));
    return reinterpret_cast<const bf16*>(turned) + (lines * kChunks + chunks / kTurns * kTurns) * kEight;
  }
};

// bf16 that is aligned comes by asynchronous copies; all else is read, rounded and stored.
template <bool Aligned, class E>
__device__ __forceinline__ void fill_chunk(bf16* to, const E* from, const E* anywhere, int64_t left) {
  const int valid = left <= 0 ? 0 : left < kEight ? static_cast<int>(left) : kEight;
  if constexpr (Aligned && sizeof(E) == sizeof(bf16))
    copy_async(to, valid ? from : anywhere, valid * static_cast<int>(sizeof(bf16)));
  else
    store_16(to, packed(load_eight<Aligned>(valid ? from : anywhere, valid)));
}

// Fills a tile with rows from `row` on and depths from `k` on, by all Threads of a block.
template <int Threads, int Rows, int Depth, bool KMajor, bool Aligned, class E>
__device__ __forceinline__ void fill_tile(bf16* tile, const Operand<E>& of, int64_t row, int64_t k) {
  using Layout = Tile<Rows, Depth, KMajor>;
  const int64_t first_line = KMajor ? row : k, first = KMajor ? k : row;
  const int64_t lines = KMajor ? of.rows : of.depth, length = KMajor ? of.depth : of.rows;
#pragma unroll
  for (int i = 0; i < (Layout::kLines * Layout::kChunks + Threads - 1) / Threads; ++i) {
    const int at = i * Threads + static_cast<int>(threadIdx.x);
    const int line = at / Layout::kChunks, chunk = at % Layout::kChunks;
    if (Layout::kLines * Layout::kChunks % Threads != 0 && line >= Layout::kLines) continue;
    const int64_t column = first + chunk * kEight;
    const int64_t left = first_line + line < lines ? length - column : 0;
    fill_chunk<Aligned>(tile + Layout::place(line, chunk), of.data + (first_line + line) * of.ld + column, of.data, left);
  }
}

// The left operand's fragment of rows `row` .. + 15 and depths `k` .. + 15 (a of multiply_add); both are multiples of 16.
template <int Rows, int Depth, bool KMajor>
__device__ __forceinline__ void load_left(uint32_t (&a)[4], const bf16* tile, int row, int k) {
  using Layout = Tile<Rows, Depth, KMajor>;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  if constexpr (KMajor)
    load_matrices(a, Layout::moved(tile + Layout::place(lane % 16, lane / 16), row, k / kEight));
  else
    load_matrices<true>(a, Layout::moved(tile + Layout::place(lane / 16 * 8 + lane % 8, lane / 8 % 2), k, row / kEight));
}

// The right operand's fragments of rows `row` .. + 15 and depths `k` .. + 15: b[0], b[1] of the first eight rows, then of the
// second eight.
template <int Rows, int Depth, bool KMajor>
__device__ __forceinline__ void load_right(uint32_t (&b)[4], const bf16* tile, int row, int k) {
  using Layout = Tile<Rows, Depth, KMajor>;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  if constexpr (KMajor)
    load_matrices(b, Layout::moved(tile + Layout::place(lane / 16 * 8 + lane % 8, lane / 8 % 2), row, k / kEight));
  else
    load_matrices<true>(b, Layout::moved(tile + Layout::place(lane / 8 % 2 * 8 + lane % 8, lane / 16), k, row / kEight));
}

}  // namespace zazen::cuda

// The register tile that every CPU matmul is made of: C [rows][16 * vectors] = A * B, each element one chain of fused
// multiply-adds in ascending k. How many rows and panels a tile takes changes the speed and never the bits. Operands are words:
// an f32, or two bf16 (see pair_bf16); k counts words.
#pragma once

#include "core/float_mode.h"
#include "kernels/cpu/simd_bf16.h"
#include "kernels/kernels.h"

namespace zazen::ZAZEN_ISA {

inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

#if defined(__AVX512F__)
constexpr int kTileRows = 12;    // 24 accumulators of 32 registers
constexpr int kTileVectors = 2;  // one whole panel
#elif defined(__AVX2__)
constexpr int kTileRows = 6;  // 12 accumulators of 16 registers
constexpr int kTileVectors = 1;
#else
constexpr int kTileRows = 4;
constexpr int kTileVectors = 1;
#endif

// One word of each operand in the chain of a sum, and the mode that a thread must be in.
struct F32Chain {
  static constexpr DType kType = DType::f32;
  static constexpr int64_t kPerWord = 1;
  struct Mode {};
  static F32x16 add(F32x16 a, F32x16 b, F32x16 sum) { return fma(a, b, sum); }
};
struct Bf16Chain {
  static constexpr DType kType = DType::bf16;
  static constexpr int64_t kPerWord = 2;
#if defined(__AVX2__) && !defined(__AVX512BF16__)
  using Mode = FlushSubnormals;
#else
  struct Mode {};
#endif
  static F32x16 add(F32x16 a, F32x16 b, F32x16 sum) { return fma_pairs(a, b, sum); }
};

// Element (i, k) of A is a[i * row + k * step]; one of the two strides is 1.
struct TileA {
  const float* a;
  int64_t row, step;
};
// Vector v of row k of B lies at b + k * row + v * vector: `vector` is 16 where columns lie side by side.
struct TileB {
  const float* b;
  int64_t row, vector;
};

// R rows by P groups of V vectors that lie side by side; groups are B.vector apart. `columns` counts the valid columns; the
// rest is neither read nor written in C.
template <class Chain, int R, int P, int V>
inline void tile(float* c, int64_t ldc, const TileA& A, const TileB& B, int64_t K, int64_t columns, bool accumulate) {
  F32x16 sum[R][P * V];
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 16
    for (int v = 0; v < P * V; ++v) {
      const float* at = c + i * ldc + v * kLanes;
      const int64_t n = columns - v * kLanes;
      sum[i][v] = !accumulate ? zero() : n >= kLanes ? load(at) : load(at, n < 0 ? 0 : n);
    }
  // A pointer for every third row: the two between are one and two strides away, which addressing does for free.
  const float *a[(R + 2) / 3], *b = B.b;
  const int64_t row = A.row, step = A.step, next = B.row, vector = B.vector;
#pragma GCC unroll 16
  for (int i = 0; i < R; i += 3) a[i / 3] = A.a + i * row;
  for (int64_t k = 0; k < K; ++k) {
    F32x16 bv[P * V];
#pragma GCC unroll 16
    for (int v = 0; v < P * V; ++v) bv[v] = load(b + (v / V) * vector + (v % V) * kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      const F32x16 av = set1(a[i / 3][(i % 3) * row]);
#pragma GCC unroll 16
      for (int v = 0; v < P * V; ++v) sum[i][v] = Chain::add(av, bv[v], sum[i][v]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < R; i += 3) a[i / 3] += step;
    b += next;
  }
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 16
    for (int v = 0; v < P * V; ++v) {
      if (columns >= (v + 1) * kLanes)
        store(c + i * ldc + v * kLanes, sum[i][v]);
      else if (columns > v * kLanes)
        store(c + i * ldc + v * kLanes, sum[i][v], columns - v * kLanes);
    }
}

// Rows are taken in tiles of about the same height: a low tile does not hide the latency of its few chains.
inline int64_t tile_height(int64_t rows) { return ceil_div(rows, ceil_div(rows, kTileRows)); }

// Operands go by reference: copies of them would be read back from the stack before they are written, which stalls every tile.
// C [rows][columns] (+)= A * B, rows at least 1; every vector of B that holds a valid column is readable whole. In tile.cc.
template <class Chain = F32Chain>
void small_matmul(float* c, int64_t ldc, const TileA& A, const TileB& B, int64_t rows, int64_t columns, int64_t K,
                  bool accumulate);

}  // namespace zazen::ZAZEN_ISA

// The register tile that every CPU matmul is made of: C [rows][16 * vectors] = A * B, each element one chain of fused
// multiply-adds in ascending k. How many rows and panels a tile takes changes the speed and never the bits.
#pragma once

#include "kernels/cpu/simd.h"
#include "kernels/kernels.h"

namespace zazen::ZAZEN_ISA {

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

// Element (i, k) of A is a[i * row + k * step]; one of the two strides is 1.
struct TileA {
  const float* a;
  int64_t row, step;
};
// Row k of B holds 16-lane vectors at b + k * row; vectors of the next panel are `panel` further.
struct TileB {
  const float* b;
  int64_t row, panel;
};

// P panels of V vectors each. `columns` counts the valid columns; the rest is neither read nor written in C.
template <int R, int P, int V>
inline void tile(float* c, int64_t ldc, TileA A, TileB B, int64_t K, int64_t columns, bool accumulate) {
  F32x16 sum[R][P * V];
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 16
    for (int v = 0; v < P * V; ++v)
      sum[i][v] = accumulate ? load(c + i * ldc + v * kLanes, columns - v * kLanes < 0 ? 0 : columns - v * kLanes) : zero();
  const float* a = A.a;
  const float* b = B.b;
  for (int64_t k = 0; k < K; ++k) {
    F32x16 bv[P * V];
#pragma GCC unroll 16
    for (int v = 0; v < P * V; ++v) bv[v] = load(b + (v / V) * B.panel + (v % V) * kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      const F32x16 av = set1(a[i * A.row]);
#pragma GCC unroll 16
      for (int v = 0; v < P * V; ++v) sum[i][v] = fma(av, bv[v], sum[i][v]);
    }
    a += A.step;
    b += B.row;
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

// C [rows][columns] (+)= A * B with B rows of at least round_up(columns, 16) readable elements. In tile.cc.
void small_matmul(float* c, int64_t ldc, TileA A, const float* b, int64_t ldb, int64_t rows, int64_t columns, int64_t K,
                  bool accumulate);

}  // namespace zazen::ZAZEN_ISA

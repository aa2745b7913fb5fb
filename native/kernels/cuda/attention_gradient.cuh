// What the two kernels of attention's backward share: their shapes, what is known of every query row, scores and their
// gradients in registers, and how sums are stored.
#pragma once

#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/workspace.h"

namespace zazen::cuda {

constexpr int kBlockThreads = 128, kWarpRows = kStep, kRows = kBlockThreads / kWarp * kWarpRows;  // of the left operand
constexpr int kAcross = 2, kPart = kAcross * kStep;                                               // columns worked on together

template <int Dim>
struct GradientShape {
  static constexpr int P = Dim;
  static constexpr int kStream = P <= 128 ? 64 : 32;   // rows of a tile of the other side, of which there are two
  static constexpr int kColumns = P <= 128 ? P : 128;  // of dK and dV that a block has: more do not fit in registers
  static constexpr int kColumnPieces = P / kColumns;
};

// Of every query row: lse in base 2 and delta, [kv_heads][T][group], so that the rows of a head lie side by side; and dout in
// bf16, [T, heads, D].
struct Terms {
  float *lse, *delta;
  bf16* dout;

  explicit Terms(const Work& work) {
    const int64_t rows = work.rows * work.kv_heads * work.group, aligned = ceil_div(rows, kEight) * kEight;
    const int64_t elements = rows * work.D;
    lse = workspace<float>(2 * aligned + ceil_div(elements, 2));
    delta = lse + aligned;
    dout = reinterpret_cast<bf16*>(delta + aligned);
  }
  // Of the rows of a unit.
  static __device__ __forceinline__ int64_t first(const Unit& unit) {
    return (unit.head * unit.work.rows + unit.span.row) * unit.work.group;
  }
};

// sums [16, 8 Columns] of a warp to rows of `D` f32 elements: row_of(r) is the address of row r of the warp, or null.
template <bool Aligned, int Columns, class RowOf>
__device__ __forceinline__ void store_sums(const float (&sums)[1][Columns][4], float scale, int D, const RowOf& row_of) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float* row = row_of(sum_row(0, 2 * half));
    if (!row) continue;
#pragma unroll
    for (int j = 0; j < Columns; ++j) {
      const int d = sum_column(j, 0);
      const float low = sums[0][j][2 * half] * scale, high = sums[0][j][2 * half + 1] * scale;
      if constexpr (Aligned) {
        if (d < D) *reinterpret_cast<uint2*>(row + d) = {__float_as_uint(low), __float_as_uint(high)};
      } else {
        if (d < D) row[d] = low;
        if (d + 1 < D) row[d + 1] = high;
      }
    }
  }
}

// Of one query row.
struct RowTerms {
  float lse, delta;
};

// Scores and gradients of weights become p and ds. terms_of(j, e) is of the query row of sum [j][e].
template <class TermsOf>
__device__ __forceinline__ void score_gradient(float (&scores)[1][2 * kAcross][4], float (&dweights)[1][2 * kAcross][4],
                                               float base, const TermsOf& terms_of) {
#pragma unroll
  for (int j = 0; j < 2 * kAcross; ++j)
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const RowTerms terms = terms_of(j, e);
      scores[0][j][e] = exp2_fast(fmaf(scores[0][j][e], base, -terms.lse));
      dweights[0][j][e] = scores[0][j][e] * (dweights[0][j][e] - terms.delta);
    }
}

// Those outside of the columns that a row sees become 0. `seen` has the columns of a thread's two rows.
__device__ __forceinline__ void hide(float (&weights)[1][2 * kAcross][4], float (&dscores)[1][2 * kAcross][4],
                                     const Columns (&seen)[2]) {
#pragma unroll
  for (int j = 0; j < 2 * kAcross; ++j)
#pragma unroll
    for (int e = 0; e < 4; ++e)
      if (!seen[e / 2].have(j, e)) weights[0][j][e] = dscores[0][j][e] = 0.0f;
}

}  // namespace zazen::cuda

// The tiles of every size that small matrices need, compiled once for matmul and attention.
#include "kernels/cpu/tile.h"

namespace zazen::ZAZEN_ISA {
namespace {

constexpr int kWideVectors = 2 * kTileVectors;  // half as many rows leave room for twice the columns
constexpr int kWideRows = kTileRows / 2;

// The tile of P vectors with as many rows as are left.
template <class Chain, int R, int P>
void tile_rows(int64_t rows, float* c, int64_t ldc, const TileA& A, const TileB& B, int64_t K, int64_t columns,
               bool accumulate) {
  if constexpr (R > 1) {
    if (rows < R) return tile_rows<Chain, R - 1, P>(rows, c, ldc, A, B, K, columns, accumulate);
  }
  if (A.row == 1)
    tile<Chain, R, P, 1>(c, ldc, TileA{A.a, 1, A.step}, B, K, columns, accumulate);
  else
    tile<Chain, R, P, 1>(c, ldc, TileA{A.a, A.row, 1}, B, K, columns, accumulate);
}

}  // namespace

template <class Chain>
void small_matmul(float* c, int64_t ldc, const TileA& A, const TileB& B, int64_t rows, int64_t columns, int64_t K,
                  bool accumulate) {
  const int64_t height = tile_height(rows);
  for (int64_t i = 0; i < rows; i += height) {
    const int64_t r = least(height, rows - i);
    const TileA a{A.a + i * A.row, A.row, A.step};
    for (int64_t v = 0; v * kLanes < columns;) {
      const TileB b{B.b + v * B.vector, B.row, B.vector};
      float* out = c + i * ldc + v * kLanes;
      const int64_t left = columns - v * kLanes, vectors = (left + kLanes - 1) / kLanes;
      if (r <= kWideRows && vectors >= kWideVectors) {
        tile_rows<Chain, kWideRows, kWideVectors>(r, out, ldc, a, b, K, left, accumulate);
        v += kWideVectors;
      } else if (vectors >= kTileVectors) {
        tile_rows<Chain, kTileRows, kTileVectors>(r, out, ldc, a, b, K, left, accumulate);
        v += kTileVectors;
      } else {
        tile_rows<Chain, kTileRows, 1>(r, out, ldc, a, b, K, left, accumulate);
        ++v;
      }
    }
  }
}

template void small_matmul<F32Chain>(float*, int64_t, const TileA&, const TileB&, int64_t, int64_t, int64_t, bool);
template void small_matmul<Bf16Chain>(float*, int64_t, const TileA&, const TileB&, int64_t, int64_t, int64_t, bool);

}  // namespace zazen::ZAZEN_ISA

// The tiles of every size that small matrices need, compiled once for matmul and attention.
#include "kernels/cpu/tile.h"

namespace zazen::ZAZEN_ISA {
namespace {

// The tile with as many rows as are left.
template <int R, int V>
void tile_rows(int64_t rows, float* c, int64_t ldc, TileA A, TileB B, int64_t K, int64_t columns, bool accumulate) {
  if constexpr (R > 1) {
    if (rows < R) return tile_rows<R - 1, V>(rows, c, ldc, A, B, K, columns, accumulate);
  }
  if (A.row == 1) {
    A.row = 1;
    tile<R, 1, V>(c, ldc, A, B, K, columns, accumulate);
  } else {
    A.step = 1;
    tile<R, 1, V>(c, ldc, A, B, K, columns, accumulate);
  }
}

}  // namespace

void small_matmul(float* c, int64_t ldc, TileA A, const float* b, int64_t ldb, int64_t rows, int64_t columns, int64_t K,
                  bool accumulate) {
  constexpr int64_t kColumns = kTileVectors * kLanes;
  for (int64_t n = 0; n < columns;) {
    const bool whole = columns - n > kColumns - kLanes;
    for (int64_t i = 0; i < rows; i += kTileRows) {
      const int64_t r = rows - i < kTileRows ? rows - i : kTileRows;
      const TileA a{A.a + i * A.row, A.row, A.step};
      const TileB bt{b + n, ldb, 0};
      if (whole)
        tile_rows<kTileRows, kTileVectors>(r, c + i * ldc + n, ldc, a, bt, K, columns - n, accumulate);
      else
        tile_rows<kTileRows, 1>(r, c + i * ldc + n, ldc, a, bt, K, columns - n, accumulate);
    }
    n += whole ? kColumns : kLanes;
  }
}

}  // namespace zazen::ZAZEN_ISA

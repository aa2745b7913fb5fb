// Linear layers over weights in panels: the product, the transposed weights that the gradient of the input multiplies by, and
// the gradient of the weight. Blocking, packing and the split over threads decide where data waits, never the order of one
// output's sum.
#include "kernels/cpu/ops.h"
#include "kernels/cpu/tile.h"

namespace zazen::ZAZEN_ISA {
namespace {

constexpr int64_t kDepth = 512;            // inner indices in a block; a panel of it streams from L2
constexpr int64_t kBlockRows = 512;        // rows in a block: packed it takes 1 MiB of L2, and the weights are read once for it
constexpr int64_t kFewRows = 2 * 12;       // up to here threads share the panels, not the rows
constexpr int64_t kPackFromColumns = 512;  // fewer outputs do not repay packing the rows
constexpr int64_t kTokens = 256;           // tokens in a block of a weight gradient
constexpr int64_t kNearTokens = 128;       // the same where inputs are read as they lie: their rows fit L1
constexpr int64_t kGradColumns = 384;      // weight-gradient inputs in a block: packed it takes 384 KiB of L2
constexpr int64_t kNearRows = 512;         // rows this close together are read well without packing
constexpr int64_t kTasksPerThread = 2;     // of a weight gradient: more would read the inputs too often
constexpr int64_t kBlocksPerThread = 2;    // of rows, if there are enough
constexpr int64_t kGroupPanels = 64;       // panels in a task: enough to repay packing its rows
constexpr int64_t kTaskFmas = 1 << 19;     // multiply-adds in a task: 5 to 10 us, against 1 to hand it out

inline int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

// Panels of a [K][N] matrix: element (k, n) at data[(n / 32) * stride + k * 32 + n % 32].
struct Panels {
  const float* data;
  int64_t stride;
};

// One block of rows against panels [first, last): C (+)= A * B over the given depth.
void multiply_panels(float* c, int64_t ldc, const TileA& A, const Panels& B, int64_t rows, int64_t N, int64_t first,
                     int64_t last, int64_t K, bool accumulate) {
  for (int64_t p = first; p < last; ++p) {
    const int64_t columns = least(kPanel, N - p * kPanel);
    small_matmul(c + p * kPanel, ldc, A, {B.data + p * B.stride, kPanel, kLanes}, rows, columns, K, accumulate);
  }
}

#if defined(__AVX512F__)
// Few rows: several panels at once, so that enough independent chains hide the latency of one.
template <int R, int P>
int64_t multiply_wide(float* c, int64_t ldc, const TileA& A, const Panels& B, int64_t N, int64_t first, int64_t last,
                      int64_t K) {
  for (; first + P <= last && (first + P) * kPanel <= N; first += P)
    tile<R, P, 2>(c + first * kPanel, ldc, A, {B.data + first * B.stride, kPanel, B.stride}, K, P * kPanel, false);
  return first;
}
int64_t multiply_few(float* c, int64_t ldc, const TileA& A, const Panels& B, int64_t rows, int64_t N, int64_t first,
                     int64_t last, int64_t K) {
  switch (rows) {
    case 1:
      return multiply_wide<1, 4>(c, ldc, A, B, N, first, last, K);
    case 2:
      return multiply_wide<2, 4>(c, ldc, A, B, N, first, last, K);
    case 3:
      return multiply_wide<3, 3>(c, ldc, A, B, N, first, last, K);
    case 4:
      return multiply_wide<4, 3>(c, ldc, A, B, N, first, last, K);
    case 5:
      return multiply_wide<5, 2>(c, ldc, A, B, N, first, last, K);
    case 6:
      return multiply_wide<6, 2>(c, ldc, A, B, N, first, last, K);
    default:
      return first;
  }
}
#else
int64_t multiply_few(float*, int64_t, const TileA&, const Panels&, int64_t, int64_t, int64_t first, int64_t, int64_t) {
  return first;
}
#endif

// Rows [0, rows) x depth [0, K) of A, laid out as [tile][k][kTileRows].
void pack_rows(float* packed, const float* a, int64_t lda, int64_t rows, int64_t K) {
  alignas(64) float square[kLanes * kLanes];
  for (int64_t i = 0; i < rows; i += kTileRows) {
    const int64_t r = least(kTileRows, rows - i);
    float* target = packed + i * K;
    for (int64_t k = 0; k < K; k += kLanes) {
      const int64_t columns = least(kLanes, K - k);
      if (columns == kLanes)
        transpose16(square, kLanes, a + i * lda + k, lda, r);
      else
        transpose(square, kLanes, a + i * lda + k, lda, r, columns);
      for (int64_t c = 0; c < columns; ++c) store(target + (k + c) * kTileRows, load(square + c * kLanes), kTileRows);
    }
  }
}

// Asks for the output tile that comes next: its loads would otherwise stall the start of every tile.
void prefetch_tile(const float* c, int64_t ldc, int64_t rows) {
  for (int64_t i = 0; i < rows; ++i) {
    __builtin_prefetch(c + i * ldc, 1);
    __builtin_prefetch(c + i * ldc + kLanes, 1);
  }
}

// All depths of one block of rows against all N columns of B.
void multiply_rows(float* c, int64_t ldc, const float* a, int64_t lda, const Panels& B, int64_t rows, int64_t N, int64_t K,
                   bool accumulate) {
  alignas(64) float packed[round_up(kBlockRows, kTileRows) * kDepth];
  const int64_t panels = ceil_div(N, kPanel);
  const bool pack = N >= kPackFromColumns;
  for (int64_t k = 0; k < K; k += kDepth) {
    const int64_t depth = least(kDepth, K - k);
    const bool add = accumulate || k > 0;
    if (pack) pack_rows(packed, a + k, lda, rows, depth);
    for (int64_t p = 0; p < panels; ++p) {
      const TileB panel{B.data + p * B.stride + k * kPanel, kPanel, kLanes};
      const int64_t columns = least(kPanel, N - p * kPanel);
      if (!pack) {
        small_matmul(c + p * kPanel, ldc, {a + k, lda, 1}, panel, rows, columns, depth, add);
        continue;
      }
      for (int64_t i = 0; i < rows; i += kTileRows) {
        float* out = c + i * ldc + p * kPanel;
        if (add) prefetch_tile(out + kTileRows * ldc, ldc, least(kTileRows, rows - i - kTileRows));
        small_matmul(out, ldc, {packed + i * depth, 1, kTileRows}, panel, least(kTileRows, rows - i), columns, depth, add);
      }
    }
  }
}

// Up to kFewRows rows: every thread takes all of them and some of the panels.
void multiply_few_rows(ThreadPool& pool, float* c, int64_t ldc, const float* a, int64_t lda, const Panels& B, int64_t M,
                       int64_t N, int64_t K, bool accumulate) {
  const int64_t panels = ceil_div(N, kPanel);
  const int64_t piece = most(4, least(ceil_div(panels, 2 * pool.threads()), ceil_div(kTaskFmas, M * K * kPanel)));
  parallel_pieces(pool, panels, piece, [&](int64_t first, int64_t last) {
    const int64_t height = tile_height(M);
    for (int64_t i = 0; i < M; i += height) {
      const int64_t rows = least(height, M - i);
      const TileA A{a + i * lda, lda, 1};
      float* out = c + i * ldc;
      const int64_t done = accumulate ? first : multiply_few(out, ldc, A, B, rows, N, first, last, K);
      multiply_panels(out, ldc, A, B, rows, N, done, last, K, accumulate);
    }
  });
}

// Rows in a task: at least kTaskFmas of work, at most a block, and several tasks for every thread if there are rows enough.
int64_t rows_of_task(const ThreadPool& pool, int64_t M, int64_t N, int64_t K) {
  const int64_t worth = ceil_div(kTaskFmas, N * K), share = ceil_div(M, kBlocksPerThread * pool.threads());
  return least(kBlockRows, round_up(most(worth, least(share, kBlockRows)), kTileRows));
}

// x[t][k0 .. k0 + columns) for `depth` tokens as [tile][t][kTileRows].
void pack_columns(float* packed, const float* x, int64_t ldx, int64_t columns, int64_t depth) {
  for (int64_t k = 0; k < columns; k += kTileRows) {
    const int64_t r = least(kTileRows, columns - k);
    float* target = packed + k * depth;
    for (int64_t t = 0; t < depth; ++t) store(target + t * kTileRows, load(x + t * ldx + k, r), r);
  }
}

// dy[t][n0 .. n0 + columns) for `depth` tokens as [t][32], zero-padded.
void pack_panel(float* packed, const float* dy, int64_t lddy, int64_t columns, int64_t depth) {
  for (int64_t t = 0; t < depth; ++t)
    for (int64_t v = 0; v < kPanel; v += kLanes)
      store(packed + t * kPanel + v, load(dy + t * lddy + v, most(0, least(kLanes, columns - v))));
}

// One block of dW: panels [first, last), inputs [k0, k0 + columns), all tokens in order.
void weight_gradient_block(float* dw, const float* dy, int64_t lddy, const float* x, int64_t ldx, int64_t M, int64_t N,
                           int64_t K, int64_t first, int64_t last, int64_t k0, int64_t columns) {
  alignas(64) float inputs[round_up(kGradColumns, kTileRows) * kTokens];
  alignas(64) float outputs[kTokens * kPanel];
  const bool pack = ldx > kNearRows;
  const int64_t tokens = pack ? kTokens : kNearTokens;
  for (int64_t t = 0; t < M; t += tokens) {
    const int64_t depth = least(tokens, M - t);
    if (pack) pack_columns(inputs, x + t * ldx + k0, ldx, columns, depth);
    for (int64_t p = first; p < last; ++p) {
      pack_panel(outputs, dy + t * lddy + p * kPanel, lddy, N - p * kPanel, depth);
      float* target = dw + (p * K + k0) * kPanel;
      const TileB B{outputs, kPanel, kLanes};
      if (!pack) {
        small_matmul(target, kPanel, {x + t * ldx + k0, 1, ldx}, B, columns, kPanel, depth, true);
        continue;
      }
      for (int64_t k = 0; k < columns; k += kTileRows)
        small_matmul(target + k * kPanel, kPanel, {inputs + k * depth, 1, kTileRows}, B, least(kTileRows, columns - k), kPanel,
                     depth, true);
    }
  }
}

}  // namespace

void linear_forward(ThreadPool& pool, float* y, int64_t ldy, const float* x, int64_t ldx, const float* w, int64_t M, int64_t N,
                    int64_t K, bool accumulate) {
  if (M == 0) return;
  const Panels B{w, K * kPanel};
  if (M <= kFewRows) return multiply_few_rows(pool, y, ldy, x, ldx, B, M, N, K, accumulate);
  const int64_t rows = rows_of_task(pool, M, N, K), columns = kGroupPanels * kPanel;
  const int64_t row_blocks = ceil_div(M, rows), column_blocks = ceil_div(N, columns);
  parallel_for(pool, row_blocks * column_blocks, [&](int64_t task) {
    const int64_t m = task / column_blocks * rows, n = task % column_blocks * columns;
    multiply_rows(y + m * ldy + n, ldy, x + m * ldx, ldx, {w + n * K, K * kPanel}, least(rows, M - m), least(columns, N - n), K,
                  accumulate);
  });
}

void weight_transpose(ThreadPool& pool, float* out, const float* w, int64_t first, int64_t count, int64_t K) {
  parallel_for(pool, ceil_div(K, kPanel), [&](int64_t q) {
    const int64_t k0 = q * kPanel, columns = least(kPanel, K - k0);
    float* target = out + q * count * kPanel;
    for (int64_t n = 0; n < count; n += kPanel)
      transpose(target + n * kPanel, kPanel, w + panel_index(first + n, k0, K), kPanel, columns, least(kPanel, count - n));
  });
}

// y = x W^T, so dW = dy^T x: the chain runs over the tokens in ascending order.
void linear_backward_weight(ThreadPool& pool, float* dw, const float* dy, int64_t lddy, const float* x, int64_t ldx, int64_t M,
                            int64_t N, int64_t K) {
  const int64_t panels = ceil_div(N, kPanel);
  // Tasks are groups of panels by blocks of inputs. A task packs its inputs once and its outputs once: more groups pack the
  // inputs more often, more blocks the outputs. Split whichever costs less until every thread has work.
  const int64_t wanted = pool.threads() == 1 ? 1 : least(kTasksPerThread * pool.threads(), M * N * K / kTaskFmas);
  int64_t groups = 1, blocks = ceil_div(K, kGradColumns);
  while (groups * blocks < wanted && (groups < panels || blocks * kTileRows < K)) {
    const bool split_panels = groups < panels && (groups * K <= blocks * N || blocks * kTileRows >= K);
    (split_panels ? groups : blocks) *= 2;
  }
  const int64_t group = ceil_div(panels, groups), columns = round_up(ceil_div(K, blocks), kTileRows);
  groups = ceil_div(panels, group);
  blocks = ceil_div(K, columns);
  parallel_for(pool, groups * blocks, [&](int64_t task) {
    const int64_t first = task / blocks * group, k0 = task % blocks * columns;
    weight_gradient_block(dw, dy, lddy, x, ldx, M, N, K, first, least(first + group, panels), k0, least(columns, K - k0));
  });
}

}  // namespace zazen::ZAZEN_ISA

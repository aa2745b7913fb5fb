// Linear layers over weights in panels: the product and the gradient of the weight. Blocking, packing and the split over
// threads decide where data waits, never the order of one output's sum. Sizes of blocks are in words: a word is an f32 or two
// bf16, so both types take the same room.
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/simd_transpose.h"
#include "kernels/cpu/tile.h"

namespace zazen::ZAZEN_ISA {
namespace {

constexpr int64_t kDepth = 512;            // words in a block; a panel of it streams from L2
constexpr int64_t kBlockRows = 512;        // rows in a block: packed it takes 1 MiB of L2, and the weights are read once for it
constexpr int64_t kFewRows = 2 * 12;       // up to here threads share the panels, not the rows
constexpr int64_t kPackFromColumns = 512;  // fewer outputs do not repay packing the rows
constexpr int64_t kTokens = 256;           // words of tokens in a block of a weight gradient
constexpr int64_t kNearTokens = 128;       // the same where inputs are read as they lie: their rows fit L1
constexpr int64_t kGradColumns = 384;      // weight-gradient inputs in a block: packed it takes 384 KiB of L2
constexpr int64_t kNearRows = 512;         // rows this close together are read well without packing
constexpr int64_t kTasksPerThread = 2;     // of a weight gradient: more would read the inputs too often
constexpr int64_t kBlocksPerThread = 2;    // of rows, if there are enough
constexpr int64_t kGroupPanels = 64;       // panels in a task: enough to repay packing its rows
constexpr int64_t kTaskFmas = 1 << 19;     // multiply-adds in a task: 5 to 10 us, against 1 to hand it out
constexpr int64_t kRoundColumns = 512;     // outputs in a task whose f32 sums wait for further blocks before they are rounded
constexpr int64_t kFewPanels = 8;          // panels whose sums of few rows wait to be rounded

inline int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

// Panels of a matrix of words [K][N]: word (k, n) at data[(n / 32) * stride + k * 32 + n % 32].
struct Panels {
  const float* data;
  int64_t stride;
  Panels from(int64_t panel) const { return {data + panel * stride, stride}; }
};

// Rows of the left operand as they come.
struct Inputs {
  TensorView x;
  int64_t ld;
  Inputs at(int64_t row, int64_t k) const { return {x + (row * ld + k), ld}; }
};

template <class Chain>
int64_t words_of(int64_t elements) {
  return ceil_div(elements, Chain::kPerWord);
}

// Whether rows of K elements can be read as words where they lie.
template <class Chain>
bool are_words(const Inputs& in, int64_t K) {
  if (Chain::kPerWord == 1) return true;
  const bool aligned = reinterpret_cast<uintptr_t>(in.x.data) % sizeof(float) == 0;
  return in.x.type == Chain::kType && aligned && in.ld % Chain::kPerWord == 0 && K % Chain::kPerWord == 0;
}

// Rows of K elements as rows of words, rounded to bf16; an odd last element is joined by zero.
void round_rows(float* words, int64_t ldw, const Inputs& in, int64_t rows, int64_t K) {
  for (int64_t i = 0; i < rows; ++i) {
    auto* out = reinterpret_cast<bf16*>(words + i * ldw);
    with_type(in.at(i, 0).x, [&](const auto* from) {
      for_lanes(K, [&](int64_t k, auto lanes) { lanes.store(out + k, lanes.load(from + k)); });
    });
    if (K % 2) out[K] = {0};
  }
}

// y [rows][columns] from f32 sums.
void round_sums(bf16* y, int64_t ldy, const float* sums, int64_t ldsums, int64_t rows, int64_t columns) {
  for (int64_t i = 0; i < rows; ++i)
    for_lanes(columns, [&](int64_t n, auto lanes) { lanes.store(y + i * ldy + n, lanes.load(sums + i * ldsums + n)); });
}

// One block of rows against panels [first, last): C (+)= A * B over the given depth.
template <class Chain>
void multiply_panels(float* c, int64_t ldc, const TileA& A, const Panels& B, int64_t rows, int64_t N, int64_t first,
                     int64_t last, int64_t K, bool accumulate) {
  for (int64_t p = first; p < last; ++p) {
    const int64_t columns = least(kPanel, N - p * kPanel);
    small_matmul<Chain>(c + p * kPanel, ldc, A, {B.data + p * B.stride, kPanel, kLanes}, rows, columns, K, accumulate);
  }
}

#if defined(__AVX512F__)
// Few rows: several panels at once, so that enough independent chains hide the latency of one.
template <class Chain, int R, int P>
[[gnu::noinline]] int64_t multiply_wide(float* c, int64_t ldc, const TileA& A, const Panels& B, int64_t N, int64_t first,
                                        int64_t last, int64_t K) {
  for (; first + P <= last && (first + P) * kPanel <= N; first += P)
    tile<Chain, R, P, 2>(c + first * kPanel, ldc, A, {B.data + first * B.stride, kPanel, B.stride}, K, P * kPanel, false);
  return first;
}
template <class Chain>
int64_t multiply_few(float* c, int64_t ldc, const TileA& A, const Panels& B, int64_t rows, int64_t N, int64_t first,
                     int64_t last, int64_t K) {
  switch (rows) {
    case 1:
      return multiply_wide<Chain, 1, 4>(c, ldc, A, B, N, first, last, K);
    case 2:
      return multiply_wide<Chain, 2, 4>(c, ldc, A, B, N, first, last, K);
    case 3:
      return multiply_wide<Chain, 3, 3>(c, ldc, A, B, N, first, last, K);
    case 4:
      return multiply_wide<Chain, 4, 3>(c, ldc, A, B, N, first, last, K);
    case 5:
      return multiply_wide<Chain, 5, 2>(c, ldc, A, B, N, first, last, K);
    case 6:
      return multiply_wide<Chain, 6, 2>(c, ldc, A, B, N, first, last, K);
    default:
      return first;
  }
}
#else
template <class Chain>
int64_t multiply_few(float*, int64_t, const TileA&, const Panels&, int64_t, int64_t, int64_t first, int64_t, int64_t) {
  return first;
}
#endif

// Rows [0, rows) x words [0, K) of A, laid out as [tile][k][kTileRows].
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

// The same of K elements that are no words yet.
template <class Chain>
void pack_rounded(float* packed, const Inputs& in, int64_t rows, int64_t K) {
  alignas(64) float words[kTileRows * kDepth];
  const int64_t depth = words_of<Chain>(K);
  for (int64_t i = 0; i < rows; i += kTileRows) {
    round_rows(words, depth, in.at(i, 0), least(kTileRows, rows - i), K);
    pack_rows(packed + i * depth, words, depth, least(kTileRows, rows - i), depth);
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
template <class Chain>
void multiply_rows(float* c, int64_t ldc, const Inputs& in, const Panels& B, int64_t rows, int64_t N, int64_t K,
                   bool accumulate) {
  alignas(64) float packed[round_up(kBlockRows, kTileRows) * kDepth];
  constexpr int64_t kPer = Chain::kPerWord;
  const int64_t panels = ceil_div(N, kPanel), words = words_of<Chain>(K);
  const bool ready = are_words<Chain>(in, K), pack = N >= kPackFromColumns || !ready;
  const float* a = in.x.template as<float>();
  for (int64_t k = 0; k < words; k += kDepth) {
    const int64_t depth = least(kDepth, words - k), lda = in.ld / kPer;
    const bool add = accumulate || k > 0;
    if (!ready)
      pack_rounded<Chain>(packed, in.at(0, k * kPer), rows, least(kDepth * kPer, K - k * kPer));
    else if (pack)
      pack_rows(packed, a + k, lda, rows, depth);
    for (int64_t p = 0; p < panels; ++p) {
      const TileB panel{B.data + p * B.stride + k * kPanel, kPanel, kLanes};
      const int64_t columns = least(kPanel, N - p * kPanel);
      if (!pack) {
        small_matmul<Chain>(c + p * kPanel, ldc, {a + k, lda, 1}, panel, rows, columns, depth, add);
        continue;
      }
      for (int64_t i = 0; i < rows; i += kTileRows) {
        float* out = c + i * ldc + p * kPanel;
        if (add) prefetch_tile(out + kTileRows * ldc, ldc, least(kTileRows, rows - i - kTileRows));
        small_matmul<Chain>(out, ldc, {packed + i * depth, 1, kTileRows}, panel, least(kTileRows, rows - i), columns, depth,
                            add);
      }
    }
  }
}

// The same with outputs that are rounded: the f32 sums of some columns wait until all depths are in them.
template <class Chain>
void multiply_rows_rounded(bf16* y, int64_t ldy, const Inputs& in, const Panels& B, int64_t rows, int64_t N, int64_t K) {
  alignas(64) float sums[kBlockRows * kRoundColumns];
  for (int64_t n = 0; n < N; n += kRoundColumns) {
    const int64_t columns = least(kRoundColumns, N - n);
    multiply_rows<Chain>(sums, kRoundColumns, in, B.from(n / kPanel), rows, columns, K, false);
    round_sums(y + n, ldy, sums, kRoundColumns, rows, columns);
  }
}

// Up to kFewRows rows of words: every thread takes all of them and some of the panels.
template <class Chain>
void multiply_few_rows(ThreadPool& pool, TensorRef y, int64_t ldy, const float* a, int64_t lda, const Panels& B, int64_t M,
                       int64_t N, int64_t K, bool accumulate) {
  const int64_t panels = ceil_div(N, kPanel), words = words_of<Chain>(K);
  const int64_t piece = most(4, least(ceil_div(panels, 2 * pool.threads()), ceil_div(kTaskFmas, M * K * kPanel)));
  const int64_t height = tile_height(M);
  const auto multiply = [&](float* c, int64_t ldc, int64_t i, int64_t first, int64_t last) {
    const int64_t rows = least(height, M - i), columns = N - first * kPanel;
    const TileA A{a + i * lda, lda, 1};
    const Panels part = B.from(first);
    const int64_t done = accumulate ? 0 : multiply_few<Chain>(c, ldc, A, part, rows, columns, 0, last - first, words);
    multiply_panels<Chain>(c, ldc, A, part, rows, columns, done, last - first, words, accumulate);
    return rows;
  };
  parallel_pieces(pool, panels, piece, [&](int64_t first, int64_t last) {
    [[maybe_unused]] const typename Chain::Mode mode;
    for (int64_t i = 0; i < M; i += height) {
      if (y.type == DType::f32) {
        multiply(y.as<float>() + i * ldy + first * kPanel, ldy, i, first, last);
        continue;
      }
      alignas(64) float sums[kTileRows * kFewPanels * kPanel];
      for (int64_t p = first; p < last; p += kFewPanels) {
        const int64_t end = least(last, p + kFewPanels), n = p * kPanel;
        const int64_t rows = multiply(sums, kFewPanels * kPanel, i, p, end);
        round_sums(y.as<bf16>() + i * ldy + n, ldy, sums, kFewPanels * kPanel, rows, least(end * kPanel, N) - n);
      }
    }
  });
}

// Rows in a task: at least kTaskFmas of work, at most a block, and several tasks for every thread if there are rows enough.
int64_t rows_of_task(const ThreadPool& pool, int64_t M, int64_t N, int64_t K) {
  const int64_t worth = ceil_div(kTaskFmas, N * K), share = ceil_div(M, kBlocksPerThread * pool.threads());
  return least(kBlockRows, round_up(most(worth, least(share, kBlockRows)), kTileRows));
}

template <class Chain>
void forward(ThreadPool& pool, TensorRef y, int64_t ldy, const Inputs& in, const float* w, int64_t M, int64_t N, int64_t K,
             bool accumulate) {
  const int64_t words = words_of<Chain>(K);
  const Panels B{w, words * kPanel};
  if (M <= kFewRows) {
    if (are_words<Chain>(in, K))
      return multiply_few_rows<Chain>(pool, y, ldy, in.x.template as<float>(), in.ld / Chain::kPerWord, B, M, N, K, accumulate);
    thread_local Buffer<float> rounded;
    rounded.reserve(static_cast<size_t>(M * words));
    round_rows(rounded.data(), words, in, M, K);
    return multiply_few_rows<Chain>(pool, y, ldy, rounded.data(), words, B, M, N, K, accumulate);
  }
  const int64_t rows = rows_of_task(pool, M, N, K), columns = kGroupPanels * kPanel;
  const int64_t row_blocks = ceil_div(M, rows), column_blocks = ceil_div(N, columns);
  parallel_for(pool, row_blocks * column_blocks, [&](int64_t task) {
    [[maybe_unused]] const typename Chain::Mode mode;
    const int64_t m = task / column_blocks * rows, n = task % column_blocks * columns;
    const int64_t height = least(rows, M - m), width = least(columns, N - n);
    const Panels panels = B.from(n / kPanel);
    if (y.type == DType::f32)
      multiply_rows<Chain>(y.as<float>() + m * ldy + n, ldy, in.at(m, 0), panels, height, width, K, accumulate);
    else
      multiply_rows_rounded<Chain>(y.as<bf16>() + m * ldy + n, ldy, in.at(m, 0), panels, height, width, K);
  });
}

// Words of up to 16 columns of tokens t .. t + kPerWord - 1. A last token that has no other is joined by `none`.
template <class Chain, class T>
F32x16 token_word(const T* at, int64_t ld, int64_t left, int64_t n, float none) {
  if constexpr (Chain::kPerWord == 1) return load(at, n);
  return pair_bf16(load(at, n), left > 1 ? load(at + ld, n) : set1(none));
}

// x[t][k0 .. k0 + columns) for `tokens` tokens as [tile][word][kTileRows].
template <class Chain, class T>
void pack_columns(float* packed, const T* x, int64_t ldx, int64_t columns, int64_t tokens) {
  const int64_t depth = words_of<Chain>(tokens);
  for (int64_t k = 0; k < columns; k += kTileRows) {
    const int64_t r = least(kTileRows, columns - k);
    float* target = packed + k * depth;
    for (int64_t t = 0; t < tokens; t += Chain::kPerWord, target += kTileRows)
      store(target, token_word<Chain>(x + t * ldx + k, ldx, tokens - t, r, 0.0f), r);
  }
}

// dy[t][n0 .. n0 + columns) for `tokens` tokens as [word][32], zero-padded. What joins an odd last token makes a product of -0,
// which changes no sum: so a chain may be cut after any token.
template <class Chain, class T>
void pack_panel(float* packed, const T* dy, int64_t lddy, int64_t columns, int64_t tokens) {
  for (int64_t t = 0; t < tokens; t += Chain::kPerWord, packed += kPanel)
    for (int64_t v = 0; v < kPanel; v += kLanes) {
      const int64_t n = most(0, least(kLanes, columns - v));
      store(packed + v, token_word<Chain>(dy + t * lddy + v, lddy, tokens - t, n, -0.0f));
    }
}

struct WeightGradient {
  float* dw;
  Inputs dy, x;
  int64_t M, N, K;
};

// One block of dW: panels [first, last), inputs [k0, k0 + columns), all tokens in order.
template <class Chain>
void weight_gradient_block(const WeightGradient& g, int64_t first, int64_t last, int64_t k0, int64_t columns) {
  alignas(64) float inputs[round_up(kGradColumns, kTileRows) * kTokens];
  alignas(64) float outputs[kTokens * kPanel];
  const bool pack = Chain::kPerWord > 1 || g.x.ld > kNearRows;
  const int64_t most_tokens = (pack ? kTokens : kNearTokens) * Chain::kPerWord, K = panel_depth(g.K, Chain::kType);
  for (int64_t t = 0; t < g.M; t += most_tokens) {
    const int64_t tokens = least(most_tokens, g.M - t), depth = words_of<Chain>(tokens);
    const TensorView x = g.x.at(t, k0).x;
    if (pack) with_type(x, [&](const auto* from) { pack_columns<Chain>(inputs, from, g.x.ld, columns, tokens); });
    for (int64_t p = first; p < last; ++p) {
      with_type(g.dy.at(t, p * kPanel).x,
                [&](const auto* from) { pack_panel<Chain>(outputs, from, g.dy.ld, g.N - p * kPanel, tokens); });
      float* target = g.dw + (p * K + k0) * kPanel;
      const TileB B{outputs, kPanel, kLanes};
      if (!pack) {
        small_matmul<Chain>(target, kPanel, {x.as<float>(), 1, g.x.ld}, B, columns, kPanel, depth, true);
        continue;
      }
      for (int64_t k = 0; k < columns; k += kTileRows)
        small_matmul<Chain>(target + k * kPanel, kPanel, {inputs + k * depth, 1, kTileRows}, B, least(kTileRows, columns - k),
                            kPanel, depth, true);
    }
  }
}

// Tasks are groups of panels by blocks of inputs. A task packs its inputs once and its outputs once: more groups pack the
// inputs more often, more blocks the outputs. Split whichever costs less until every thread has work.
template <class Chain>
void weight_gradient(ThreadPool& pool, const WeightGradient& g) {
  const int64_t panels = ceil_div(g.N, kPanel);
  const int64_t wanted = pool.threads() == 1 ? 1 : least(kTasksPerThread * pool.threads(), g.M * g.N * g.K / kTaskFmas);
  int64_t groups = 1, blocks = ceil_div(g.K, kGradColumns);
  while (groups * blocks < wanted && (groups < panels || blocks * kTileRows < g.K)) {
    const bool split_panels = groups < panels && (groups * g.K <= blocks * g.N || blocks * kTileRows >= g.K);
    (split_panels ? groups : blocks) *= 2;
  }
  const int64_t group = ceil_div(panels, groups), columns = round_up(ceil_div(g.K, blocks), kTileRows);
  groups = ceil_div(panels, group);
  blocks = ceil_div(g.K, columns);
  parallel_for(pool, groups * blocks, [&](int64_t task) {
    [[maybe_unused]] const typename Chain::Mode mode;
    const int64_t first = task / blocks * group, k0 = task % blocks * columns;
    weight_gradient_block<Chain>(g, first, least(first + group, panels), k0, least(columns, g.K - k0));
  });
}

}  // namespace

void linear_forward(ThreadPool& pool, TensorRef y, int64_t ldy, TensorView x, int64_t ldx, TensorView w, int64_t M, int64_t N,
                    int64_t K, bool accumulate) {
  if (M == 0) return;
  const auto* words = w.as<float>();
  if (w.type == DType::bf16)
    forward<Bf16Chain>(pool, y, ldy, {x, ldx}, words, M, N, K, accumulate);
  else
    forward<F32Chain>(pool, y, ldy, {x, ldx}, words, M, N, K, accumulate);
}

// y = x W^T, so dW = dy^T x: the chain runs over the tokens in ascending order.
void linear_backward_weight(ThreadPool& pool, float* dw, TensorView dy, int64_t lddy, TensorView x, int64_t ldx, int64_t M,
                            int64_t N, int64_t K) {
  const WeightGradient gradient{dw, {dy, lddy}, {x, ldx}, M, N, K};
  if (x.type == DType::bf16)
    weight_gradient<Bf16Chain>(pool, gradient);
  else
    weight_gradient<F32Chain>(pool, gradient);
}

}  // namespace zazen::ZAZEN_ISA

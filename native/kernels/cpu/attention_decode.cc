// The forward of few query rows: lanes are keys for the softmax, and the KV heads of a position are worked on together, because
// the few chains of one head would wait for each other's latency.
#include "kernels/cpu/attention.h"

namespace zazen::ZAZEN_ISA {
namespace {

constexpr int64_t kBatchRows = 16;                  // query rows worked on together: a few heads, at least one
constexpr int kChains = kTileVectors == 2 ? 8 : 4;  // chains of multiply-adds that hide each other's latency
constexpr int kVectors = kKeyTile / kLanes;
constexpr int64_t kLine = 64;      // bytes of a cache line
constexpr int64_t kStream = 4096;  // bytes of a page: one hint in each wakes the hardware up

struct Batch {
  alignas(64) float queries[kBatchRows * kMaxHeadDim];  // [rows][kMaxHeadDim]
  alignas(64) float weights[kBatchRows * kKeyTile];     // scores, then weights [rows][64]
  alignas(64) float sums[kBatchRows * kMaxHeadDim];     // [rows][Dp]
  F32x16 reference[kBatchRows];                         // what scores are held against, in all lanes
  F32x16 lane_sums[kBatchRows];
};

// Asks for memory that is read soon, one line in every `step` bytes. GCC takes functions that only prefetch for pure and
// drops calls to them, so they must be inlined.
template <class E>
[[gnu::always_inline]] inline void prefetch(const E* from, int64_t elements, int64_t step) {
  for (int64_t i = 0; i < elements; i += step / static_cast<int64_t>(sizeof(E))) __builtin_prefetch(from + i);
}

// Products of one matrix a head: rows of A are `kRow` apart, head by head; those of B[head] `step`, its vectors `vector`.
template <class E>
struct Products {
  float* c;
  int64_t c_row;
  const float* a;
  const E* const* b;
  int64_t step, vector, K;
  bool begin;  // or add to what is there
};

// The products of H heads at once: G rows a head and N vectors a row.
template <int64_t kRow, int H, int G, int N, class E>
void multiply(const Products<E>& m) {
  F32x16 s[H][G][N];
  const E* b[H];
  const float* a = m.a;
  const int64_t step = m.step, vector = m.vector, K = m.K;
#pragma GCC unroll 8
  for (int h = 0; h < H; ++h) {
    b[h] = m.b[h];
#pragma GCC unroll 8
    for (int g = 0; g < G; ++g)
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) s[h][g][n] = m.begin ? zero() : load(m.c + (h * G + g) * m.c_row + n * kLanes);
  }
  for (int64_t k = 0; k < K; ++k)
#pragma GCC unroll 8
    for (int h = 0; h < H; ++h) {
      F32x16 row[N];
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) row[n] = load(b[h] + n * vector);
      b[h] += step;
#pragma GCC unroll 8
      for (int g = 0; g < G; ++g) {
        const F32x16 ak = set1(a[(h * G + g) * kRow + k]);
#pragma GCC unroll 8
        for (int n = 0; n < N; ++n) s[h][g][n] = fma(ak, row[n], s[h][g][n]);
      }
    }
#pragma GCC unroll 8
  for (int h = 0; h < H; ++h)
#pragma GCC unroll 8
    for (int g = 0; g < G; ++g)
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) store(m.c + (h * G + g) * m.c_row + n * kLanes, s[h][g][n]);
}

// The call above with as many heads as are left, at most H.
template <int64_t kRow, int H, int G, int N, class E>
void multiply_heads(const Products<E>& m, int64_t heads) {
  if constexpr (H > 1) {
    if (heads < H) return multiply_heads<kRow, H - 1, G, N>(m, heads);
  }
  multiply<kRow, H, G, N>(m);
}

// The right operand of a head, K rows of some vectors each, for a matmul of f32: where it lies, or copied.
inline TileB right_operand(float*, const Products<float>& m, int64_t head, int64_t) { return {m.b[head], m.step, m.vector}; }
inline TileB right_operand(float* room, const Products<bf16>& m, int64_t head, int64_t vectors) {
  for (int64_t k = 0; k < m.K; ++k)
    for (int64_t n = 0; n < vectors; ++n) store(room + (k * vectors + n) * kLanes, load(m.b[head] + k * m.step + n * m.vector));
  return {room, vectors * kLanes, kLanes};
}

// All heads, with the numbers of rows a head and vectors a row known at compile time where one head has few chains.
template <int64_t kRow, int G = 1, int N = 1, class E>
void multiply_batch(Products<E> m, int64_t heads, int64_t group, int64_t vectors) {
  if constexpr (G * N <= kChains) {
    if (group != G) return multiply_batch<kRow, G + 1, N>(m, heads, group, vectors);
    if (vectors != N) return multiply_batch<kRow, G, N + 1>(m, heads, group, vectors);
    constexpr int kHeads = (kChains + G * N - 1) / (G * N);
    for (; heads > 0; heads -= kHeads) {
      multiply_heads<kRow, kHeads, G, N>(m, heads);
      m.c += kHeads * G * m.c_row;
      m.a += kHeads * G * kRow;
      m.b += kHeads;
    }
  } else {
    alignas(64) float room[sizeof(E) < sizeof(float) ? kKeyTile * kMaxHeadDim : 1];
    for (int64_t h = 0; h < heads; ++h)
      small_matmul(m.c + h * group * m.c_row, m.c_row, {m.a + h * group * kRow, kRow, 1}, right_operand(room, m, h, vectors),
                   group, vectors * kLanes, m.K, !m.begin);
  }
}

// Turns one row's scores of a tile into weights, and carries its sums over to the new reference. Keys before `gone` and at or
// past `keys` get 0.
void softmax_row(Batch& b, int64_t row, int64_t padded, int64_t gone, int64_t keys, float base, bool begin) {
  const int64_t vectors = ceil_div(keys, kLanes);
  float* score = b.weights + row * kKeyTile;
  F32x16 s[kVectors], top = set1(kMinusInfinity);
  for (int64_t v = 0; v < vectors; ++v) {
    s[v] = keep(load(score + v * kLanes), keys - v * kLanes, set1(kMinusInfinity));
    if (gone > v * kLanes) s[v] = keep(set1(kMinusInfinity), gone - v * kLanes, s[v]);
    top = max(top, s[v]);
  }
  const F32x16 best = set1(max(top)) * set1(base);
  const F32x16 reference = begin ? best : max(b.reference[row], best), shift = zero() - reference;
  F32x16 p[kVectors] = {zero(), zero(), zero(), zero()};
  for (int64_t v = 0; v < vectors; ++v) {
    p[v] = keep(exp2(fma(s[v], set1(base), shift)), keys - v * kLanes, zero());
    if (gone > v * kLanes) p[v] = keep(zero(), gone - v * kLanes, p[v]);
    store(score + v * kLanes, p[v]);
  }
  F32x16 sum = p[0];
  if (!begin) {
    const F32x16 rescale = exp2(b.reference[row] - reference);
    sum = fma(b.lane_sums[row], rescale, sum);
    float* out = b.sums + row * padded;
    for (int64_t d = 0; d < padded; d += kLanes) store(out + d, load(out + d) * rescale);
  }
  b.lane_sums[row] = ((sum + p[1]) + p[2]) + p[3];
  b.reference[row] = reference;
}

template <class E>
void finish_row(const Batch& b, int64_t row, E* out, float* lse, int64_t D, int64_t padded) {
  const float total = sum(b.lane_sums[row]);
  const F32x16 inverse = set1(1.0f) / set1(total);
  for (int64_t d = 0; d < D; d += kLanes) store(out + d, load(b.sums + row * padded + d) * inverse, D - d);
  if (!lse) return;
  float lane[kLanes];
  store(lane, log_shifted(set1(total), b.reference[row]));
  *lse = lane[0];
}

// Where the keys and values of consecutive heads lie in a tile.
template <class E>
struct TileStreams {
  const E *keys[kBatchRows], *values[kBatchRows];

  TileStreams(const Head& head, const E* blocks, int64_t tile, int64_t heads) {
    for (int64_t h = 0; h < heads; ++h) {
      keys[h] = head.keys(blocks, tile) + h * head.kv.head_elements();
      values[h] = keys[h] + head.kv.key_elements();
    }
  }
};

// The streams of a decode step are too short for the hardware to see coming. A head on its own computes its scores while its
// values arrive. Heads together take too little time for that, so hints wake the hardware up for those of the next span.
template <class E>
[[gnu::always_inline]] inline void prefetch_tile(const TileStreams<E>& now, const E* blocks, const Head& head, const Head* next,
                                                 int64_t tile, int64_t heads, int64_t keys) {
  if (heads == 1)
    prefetch(now.values[0], keys * head.kv.head_dim, kLine);
  else if (next && tile < next->tiles_of(0))
    prefetch(next->keys(blocks, tile), heads * head.kv.head_elements(), kStream);
}

// KV heads `head` and the heads - 1 after it, for row `row` of the span. `next` is the same head of the span after, or null.
template <class E>
void decode_heads(Batch& b, E* out, float* lse, const E* q, const E* blocks, float scale, const Head& head, const Head* next,
                  int64_t row, int64_t heads) {
  const int64_t D = head.kv.head_dim, padded = head.kv.padded_dim(), group = head.group, rows = heads * group;
  const int64_t first = row * group, at = head.query(first);
  const float base = scale * kLog2E;
  for (int64_t r = 0; r < rows; ++r) copy_padded(b.queries + r * kMaxHeadDim, q + at + r * D, D);
  const int64_t first_key = head.first_key(first), first_tile = first_key / kKeyTile;
  for (int64_t tile = first_tile; tile < head.tiles_of(first); ++tile) {
    const int64_t keys = least(kKeyTile, head.valid(first, tile)), gone = first_key - tile * kKeyTile;
    const bool begin = tile == first_tile;
    const TileStreams<E> from(head, blocks, tile, heads);
    prefetch_tile(from, blocks, head, next, tile, heads, keys);
    multiply_batch<kMaxHeadDim>(Products<E>{b.weights, kKeyTile, b.queries, from.keys, kKeyGroup, D * kKeyGroup, D, true},
                                heads, group, ceil_div(keys, kLanes));
    for (int64_t r = 0; r < rows; ++r) softmax_row(b, r, padded, gone, keys, base, begin);
    multiply_batch<kKeyTile>(Products<E>{b.sums, padded, b.weights, from.values, D, kLanes, keys, begin}, heads, group,
                             padded / kLanes);
  }
  for (int64_t r = 0; r < rows; ++r) finish_row(b, r, out + at + r * D, lse ? lse + at / D + r : nullptr, D, padded);
}

}  // namespace

void decode_position(TensorRef out, float* lse, TensorView q, TensorView blocks, const AttentionArgs& args, int64_t span,
                     int64_t row, int64_t first, int64_t last) {
  const int64_t all = args.kv.kv_heads, group = args.heads / all;
  const bool alone = group * args.kv.padded_dim() >= kChains * kLanes, more = span + 1 < args.span_count;
  const int64_t most = alone ? 1 : kBatchRows / group;
  Batch b;
  for (int64_t index = first; index < last; index += most) {
    const Head head(args, span * all + index), next(args, (more ? span + 1 : span) * all + index);
    with_type(out, [&]<class E>(E* to) {
      decode_heads(b, to, lse, q.as<E>(), blocks.as<E>(), args.scale, head, more ? &next : nullptr, row,
                   least(most, last - index));
    });
  }
}

}  // namespace zazen::ZAZEN_ISA

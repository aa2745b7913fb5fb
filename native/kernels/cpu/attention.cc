// Causal grouped-query attention over KV blocks of 64 positions: flash-style, nothing of size T x T.
//
// The order that makes a row's bits its own: scores are chains over d in ascending order; tiles are visited in order of
// position with an online softmax (Milakov and Gimelshein 2018; Dao et al. 2022, algorithm 1); a tile's sum of exponentials is
// 16 lane sums and one tree; the output is a chain over keys. Decoding, prefill and training all run this code.
#include "kernels/cpu/ops.h"
#include "kernels/cpu/tile.h"

namespace zazen::ZAZEN_ISA {
namespace {

constexpr int64_t kRows = 24;    // query rows (position x head of the group) handled together
constexpr int64_t kFewRows = 8;  // fewer rows than this wait for memory, not for arithmetic
constexpr int64_t kVectors = kKeyTile / kLanes;
constexpr int64_t kTasksInPiece = 4;
constexpr float kMinusInfinity = -__builtin_inff();

inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t whole_vectors(int64_t n) { return ceil_div(n, kLanes) * kLanes; }

// One KV head of one span. Its query rows are numbered r = (row in span) * group + (head in group).
struct Head {
  KvShape kv;
  int64_t group, query_row, key_row;  // query heads a KV head; row lengths of q and of k
  int64_t index;
  Span span;
  float scale;

  Head(const AttentionArgs& args, int64_t task)
      : kv(args.kv),
        group(args.heads / kv.kv_heads),
        query_row(args.heads * kv.head_dim),
        key_row(kv.kv_heads * kv.head_dim),
        index(task % kv.kv_heads),
        span(args.spans[task / kv.kv_heads]),
        scale(args.scale) {}
  int64_t rows() const { return span.count * group; }
  // Offset of query row r in q, out and dq.
  int64_t query(int64_t r) const { return (span.row + r / group) * query_row + (index * group + r % group) * kv.head_dim; }
  int64_t lse(int64_t r, int64_t heads) const { return (span.row + r / group) * heads + index * group + r % group; }
  // Keys of tile `tile` that row r may see: 0 or less when none, 64 or more when all.
  int64_t valid(int64_t r, int64_t tile) const { return span.position + r / group + 1 - tile * kKeyTile; }
  int64_t tiles_of(int64_t r) const { return (span.position + r / group) / kKeyTile + 1; }
  float* keys(float* blocks, int64_t tile) const {
    return blocks + span.blocks[tile] * kv.block_elements() + index * kv.head_elements();
  }
  const float* keys(const float* blocks, int64_t tile) const { return keys(const_cast<float*>(blocks), tile); }
  // K^T of a tile: row d holds the keys of 16 positions in each of 4 vectors.
  TileB key_vectors(const float* blocks, int64_t tile) const {
    return {keys(blocks, tile), kKeyGroup, kv.head_dim * kKeyGroup};
  }
  const float* values(const float* blocks, int64_t tile) const { return keys(blocks, tile) + kv.key_elements(); }
};

void copy_row(float* to, const float* from, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) store(to + i, load(from + i, n - i), n - i);
}

// Fills the last vector up with zeros. Scratch is worked on in whole vectors, because a masked store followed by a load of the
// same address stalls.
void copy_padded(float* to, const float* from, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) store(to + i, load(from + i, n - i));
}

// Asks for memory that is read soon: the streams of a decode step are too short for the hardware to see coming.
void prefetch(const float* from, int64_t elements) {
  for (int64_t i = 0; i < elements; i += kLanes) __builtin_prefetch(from + i);
}

struct RowState {
  float max, sum;
};

// Turns one row's scores of a tile into weights against the running maximum, and rescales the row's sum and output to it.
// Keys at or past `valid` get weight 0; vectors past `keys`, the most that any row of the block sees, are not touched.
void online_softmax(float* score, RowState* state, float* out, int64_t padded, int64_t valid, int64_t keys, float scale) {
  const int64_t vectors = ceil_div(keys, kLanes);
  if (valid <= 0) {
    for (int64_t v = 0; v < vectors; ++v) store(score + v * kLanes, zero());
    return;
  }
  F32x16 s[kVectors] = {zero(), zero(), zero(), zero()};
  F32x16 top = set1(state->max);
  for (int64_t v = 0; v < vectors; ++v) {
    const int64_t n = valid - v * kLanes;
    s[v] = keep(load(score + v * kLanes) * set1(scale), n < 0 ? 0 : n, set1(kMinusInfinity));
    top = max(top, s[v]);
  }
  const float now = max(top);
  for (int64_t v = 0; v < vectors; ++v) {
    s[v] = exp(s[v] - set1(now));
    store(score + v * kLanes, s[v]);
  }
  const float rescale = exp(state->max - now);
  state->sum = state->sum * rescale + sum((s[0] + s[1]) + (s[2] + s[3]));
  state->max = now;
  if (rescale == 1.0f) return;
  for (int64_t d = 0; d < padded; d += kLanes) store(out + d, load(out + d) * set1(rescale));
}

// Rows [first, first + rows) of one head. `q`, `out` have room for [rows][padded].
void forward_rows(float* out, float* lse, const float* q, const float* blocks, const Head& head, int64_t heads, int64_t first,
                  int64_t rows, float* queries, float* sums) {
  const int64_t D = head.kv.head_dim, padded = head.kv.padded_dim();
  alignas(64) float scores[kRows * kKeyTile];
  RowState state[kRows];
  for (int64_t r = 0; r < rows; ++r) {
    copy_padded(queries + r * padded, q + head.query(first + r), D);
    for (int64_t d = 0; d < padded; d += kLanes) store(sums + r * padded + d, zero());
    state[r] = {kMinusInfinity, 0.0f};
  }
  const int64_t last = first + rows - 1;
  for (int64_t tile = 0; tile < head.tiles_of(last); ++tile) {
    const int64_t keys = least(kKeyTile, head.valid(last, tile));
    if (rows < kFewRows) prefetch(head.values(blocks, tile), keys * padded);
    small_matmul(scores, kKeyTile, {queries, padded, 1}, head.key_vectors(blocks, tile), rows, whole_vectors(keys), D, false);
    for (int64_t r = 0; r < rows; ++r)
      online_softmax(scores + r * kKeyTile, &state[r], sums + r * padded, padded, head.valid(first + r, tile), keys,
                     head.scale);
    small_matmul(sums, padded, {scores, kKeyTile, 1}, {head.values(blocks, tile), padded, kLanes}, rows, padded, keys, true);
  }
  for (int64_t r = 0; r < rows; ++r) {
    const F32x16 inverse = set1(1.0f / state[r].sum);
    float* target = out + head.query(first + r);
    for (int64_t d = 0; d < D; d += kLanes) store(target + d, load(sums + r * padded + d) * inverse, D - d);
    if (lse)
      lse[head.lse(first + r, heads)] = state[r].max + static_cast<float>(__builtin_log(static_cast<double>(state[r].sum)));
  }
}

// What the backward of one head keeps on the stack for a tile of keys and a block of rows; P = padded head dimension.
template <int64_t P>
struct Scratch {
  alignas(64) float keys[kKeyTile * P], values[kKeyTile * P];    // K [64][P], V^T [D][64]
  alignas(64) float dkeys[kKeyTile * P], dvalues[kKeyTile * P];  // [64][P]
  alignas(64) float queries[kRows * P], dout[kRows * P], dqueries[kRows * P];
  alignas(64) float weights[kRows * kKeyTile], dweights[kRows * kKeyTile];
};

float dot(const float* a, const float* b, int64_t n) {
  F32x16 total = zero();
  for (int64_t i = 0; i < n; i += kLanes) total = fma(load(a + i, n - i), load(b + i, n - i), total);
  return sum(total);
}

// weights = exp(scores * scale - lse), dweights = weights * (dout . v - dout . out) * scale, over `keys`; keys past `valid` get
// 0.
void score_gradient(float* weights, float* dweights, int64_t valid, int64_t keys, float scale, float lse, float delta) {
  for (int64_t v = 0; v * kLanes < keys; ++v) {
    const int64_t n = valid - v * kLanes, at = v * kLanes;
    const F32x16 p = keep(exp(load(weights + at) * set1(scale) - set1(lse)), n < 0 ? 0 : n, zero());
    const F32x16 ds = keep(p * (load(dweights + at) - set1(delta)) * set1(scale), n < 0 ? 0 : n, zero());
    store(weights + at, p);
    store(dweights + at, ds);
  }
}

struct BackwardArgs {
  float* dq;
  const float *dout, *out, *lse, *q, *blocks;
  int64_t heads;
};

// Adds the share of one tile of keys and rows [first, first + rows) to dq and to the tile's dkeys, dvalues.
template <int64_t P>
void backward_block(Scratch<P>& s, const BackwardArgs& args, const Head& head, int64_t tile, int64_t first, int64_t rows) {
  const int64_t D = head.kv.head_dim, padded = head.kv.padded_dim();
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t at = head.query(first + r);
    copy_padded(s.queries + r * P, args.q + at, D);
    copy_padded(s.dout + r * P, args.dout + at, D);
    if (tile > 0) copy_padded(s.dqueries + r * P, args.dq + at, D);
  }
  // No row of the block sees more keys than its last.
  const int64_t keys = least(kKeyTile, head.valid(first + rows - 1, tile));
  small_matmul(s.weights, kKeyTile, {s.queries, P, 1}, head.key_vectors(args.blocks, tile), rows, whole_vectors(keys), D,
               false);
  small_matmul(s.dweights, kKeyTile, {s.dout, P, 1}, {s.values, kKeyTile, kLanes}, rows, whole_vectors(keys), D, false);
  for (int64_t r = 0; r < rows; ++r) {
    const float delta = dot(s.dout + r * P, args.out + head.query(first + r), D);
    score_gradient(s.weights + r * kKeyTile, s.dweights + r * kKeyTile, head.valid(first + r, tile), keys, head.scale,
                   args.lse[head.lse(first + r, args.heads)], delta);
  }
  small_matmul(s.dvalues, P, {s.weights, 1, kKeyTile}, {s.dout, P, kLanes}, keys, padded, rows, true);
  small_matmul(s.dkeys, P, {s.dweights, 1, kKeyTile}, {s.queries, P, kLanes}, keys, padded, rows, true);
  small_matmul(s.dqueries, P, {s.dweights, kKeyTile, 1}, {s.keys, P, kLanes}, rows, padded, keys, tile > 0);
  for (int64_t r = 0; r < rows; ++r) copy_row(args.dq + head.query(first + r), s.dqueries + r * P, D);
}

template <int64_t P>
void backward_head(float* dk, float* dv, const BackwardArgs& args, const Head& head) {
  const int64_t D = head.kv.head_dim, padded = head.kv.padded_dim(), rows = head.rows();
  Scratch<P> s;
  for (int64_t i = 0; i < kKeyTile * P; i += kLanes) store(s.keys + i, zero());  // lanes past D, too, take part
  for (int64_t tile = 0; tile * kKeyTile < head.span.count; ++tile) {
    const int64_t keys = least(kKeyTile, head.span.count - tile * kKeyTile);
    for (int64_t key = 0; key < keys; key += kKeyGroup)
      transpose(s.keys + key * P, P, head.keys(args.blocks, tile) + head.kv.key_index(key, 0), kKeyGroup, D,
                least(kKeyGroup, keys - key));
    transpose(s.values, kKeyTile, head.values(args.blocks, tile), padded, keys, padded);
    for (int64_t i = 0; i < kKeyTile * P; i += kLanes) {
      store(s.dkeys + i, zero());
      store(s.dvalues + i, zero());
    }
    // Rows before the tile see none of its keys.
    for (int64_t r = tile * kKeyTile * head.group; r < rows; r += kRows)
      backward_block(s, args, head, tile, r, least(kRows, rows - r));
    for (int64_t key = 0; key < keys; ++key) {
      const int64_t at = (head.span.row + tile * kKeyTile + key) * head.key_row + head.index * D;
      copy_row(dk + at, s.dkeys + key * P, D);
      copy_row(dv + at, s.dvalues + key * P, D);
    }
  }
}

// Calls body(task) for every (span, KV head).
template <class Body>
void for_heads(ThreadPool& pool, const AttentionArgs& args, const Body& body) {
  parallel_pieces(pool, args.span_count * args.kv.kv_heads, args.span_count > kTasksInPiece * 8 ? kTasksInPiece : 1,
                  [&](int64_t begin, int64_t end) {
                    for (int64_t task = begin; task < end; ++task) body(Head(args, task));
                  });
}

}  // namespace

void kv_write(ThreadPool& pool, float* blocks, const float* k, const float* v, const AttentionArgs& args) {
  const int64_t D = args.kv.head_dim, padded = args.kv.padded_dim();
  for_heads(pool, args, [&](const Head& head) {
    for (int64_t i = 0; i < head.span.count;) {
      const int64_t position = head.span.position + i, slot = position % kKeyTile;
      const int64_t rows = least(kKeyGroup - slot % kKeyGroup, head.span.count - i);  // of one group
      const int64_t from = (head.span.row + i) * head.key_row + head.index * D;
      float* keys = head.keys(blocks, position / kKeyTile);
      transpose(keys + head.kv.key_index(slot, 0), kKeyGroup, k + from, head.key_row, rows, D);
      float* values = keys + head.kv.key_elements() + slot * padded;
      for (int64_t r = 0; r < rows; ++r) copy_padded(values + r * padded, v + from + r * head.key_row, D);
      i += rows;
    }
  });
}

void attention_forward(ThreadPool& pool, float* out, float* lse, const float* q, const float* blocks,
                       const AttentionArgs& args) {
  for_heads(pool, args, [&](const Head& head) {
    alignas(64) float queries[kRows * kMaxHeadDim], sums[kRows * kMaxHeadDim];
    const int64_t rows = head.rows();
    for (int64_t r = 0; r < rows; r += kRows)
      forward_rows(out, lse, q, blocks, head, args.heads, r, least(kRows, rows - r), queries, sums);
  });
}

void attention_backward(ThreadPool& pool, float* dq, float* dk, float* dv, const float* dout, const float* out,
                        const float* lse, const float* q, const float* blocks, const AttentionArgs& args) {
  const BackwardArgs backward{dq, dout, out, lse, q, blocks, args.heads};
  for_heads(pool, args, [&](const Head& head) {
    const int64_t padded = args.kv.padded_dim();
    if (padded <= 16) return backward_head<16>(dk, dv, backward, head);
    if (padded <= 32) return backward_head<32>(dk, dv, backward, head);
    if (padded <= 64) return backward_head<64>(dk, dv, backward, head);
    if (padded <= 128) return backward_head<128>(dk, dv, backward, head);
    return backward_head<kMaxHeadDim>(dk, dv, backward, head);
  });
}

}  // namespace zazen::ZAZEN_ISA

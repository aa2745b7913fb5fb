// The forward of many query rows of one KV head: lanes are query rows, so the softmax runs down the keys and needs no work
// across lanes. A block of rows is turned to Q^T [D][rows] once, works on S^T [keys][rows] and O^T [D][rows], and is turned
// back.
#include "kernels/cpu/attention.h"

namespace zazen::ZAZEN_ISA {
namespace {

// V vectors of query rows.
template <int V>
struct Block {
  static constexpr int64_t kWidth = V * kLanes;
  alignas(64) float queries[kMaxHeadDim * kWidth];  // Q^T [D][rows]
  alignas(64) float sums[kMaxHeadDim * kWidth];     // O^T [Dp][rows]
  alignas(64) float weights[kKeyTile * kWidth];     // S^T, then P^T [64][rows]
  alignas(64) float lane_sums[kLanes * kWidth];     // [16][rows]
};

// One number for each query row.
template <int V>
struct Rows {
  F32x16 v[V];
};

// How `rows` rows see the keys of a tile: key k is hidden from the first hidden(k) of them, and from those at or past gone(k).
struct Diagonal {
  int64_t group, before, window, rows;
  Diagonal(const Head& head, int64_t first, int64_t tile, int64_t count)
      : group(head.group),
        before(group * (tile * kKeyTile - head.span.position) - first),
        window(head.window > 0 ? head.window * group : INT64_MAX / 2),
        rows(count) {}
  int64_t hidden(int64_t key) const { return before + group * key; }
  int64_t gone(int64_t key) const { return hidden(key) + window; }
  bool covers(int64_t first_key, int64_t last_key) const { return hidden(last_key) > 0 || gone(first_key) < rows; }
  F32x16 mask(F32x16 a, int64_t key, int v, F32x16 other) const {
    const int64_t from = hidden(key) - v * kLanes, to = gone(key) - v * kLanes;
    return keep(keep(other, from, a), to, other);
  }
};

// Scores of the 16 keys from `key` on. Returns the maximum of them and `top`.
template <int V, bool kMasked>
Rows<V> score_group(Block<V>& b, const float* keys, int64_t D, int64_t key, const Diagonal& diagonal, Rows<V> top) {
  for (int64_t part = 0; part < kKeyGroup; part += kOuterRows) {
    F32x16 s[kOuterRows][V];
#pragma GCC unroll 8
    for (int i = 0; i < kOuterRows; ++i)
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) s[i][v] = zero();
    add_outer(s, keys + part, kKeyGroup, b.queries, b.kWidth, D);
#pragma GCC unroll 8
    for (int i = 0; i < kOuterRows; ++i)
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) {
        const int64_t at = key + part + i;
        if constexpr (kMasked) s[i][v] = diagonal.mask(s[i][v], at, v, set1(kMinusInfinity));
        store(b.weights + at * b.kWidth + v * kLanes, s[i][v]);
        top.v[v] = max(top.v[v], s[i][v]);
      }
  }
  return top;
}

// Turns the scores of 16 keys into weights, which join sums * rescale. `shift` is minus the reference.
template <int V, bool kMasked>
void weigh_group(Block<V>& b, float base, int64_t key, const Diagonal& diagonal, Rows<V> shift, Rows<V> rescale) {
#pragma GCC unroll 4
  for (int64_t j = 0; j < kLanes; ++j)
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) {
      float* at = b.weights + (key + j) * b.kWidth + v * kLanes;
      float* sum = b.lane_sums + j * b.kWidth + v * kLanes;
      F32x16 p = exp2(fma(load(at), set1(base), shift.v[v]));
      if constexpr (kMasked) p = diagonal.mask(p, key + j, v, zero());
      store(at, p);
      store(sum, fma(load(sum), rescale.v[v], p));
    }
}

// The weights of a tile against the new reference. Returns what sums so far are worth against it.
template <int V>
Rows<V> softmax_tile(Block<V>& b, const float* keys, int64_t D, int64_t groups, float base, const Diagonal& diagonal,
                     Rows<V>& reference) {
  Rows<V> top, shift, rescale, one;
  for (int v = 0; v < V; ++v) top.v[v] = set1(kMinusInfinity);
  for (int64_t g = 0; g < groups; ++g) {
    const float* group = keys + g * D * kKeyGroup;
    if (diagonal.covers(g * kKeyGroup, g * kKeyGroup + kKeyGroup - 1))
      top = score_group<V, true>(b, group, D, g * kKeyGroup, diagonal, top);
    else
      top = score_group<V, false>(b, group, D, g * kKeyGroup, diagonal, top);
  }
  for (int v = 0; v < V; ++v) {
    const F32x16 next = max(reference.v[v], top.v[v] * set1(base));
    rescale.v[v] = exp2(reference.v[v] - next);
    shift.v[v] = zero() - next;
    reference.v[v] = next;
    one.v[v] = set1(1.0f);
  }
  for (int64_t g = 0; g < groups; ++g) {
    if (diagonal.covers(g * kKeyGroup, g * kKeyGroup + kKeyGroup - 1))
      weigh_group<V, true>(b, base, g * kKeyGroup, diagonal, shift, g ? one : rescale);
    else
      weigh_group<V, false>(b, base, g * kKeyGroup, diagonal, shift, g ? one : rescale);
  }
  return rescale;
}

// O^T = O^T * rescale + V^T P^T; rows past D have no use.
template <int V>
void add_values(Block<V>& b, const float* values, int64_t D, int64_t keys, Rows<V> rescale) {
  for (int64_t d = 0; d < D; d += kOuterRows) {
    F32x16 s[kOuterRows][V];
    float* out = b.sums + d * b.kWidth;
#pragma GCC unroll 8
    for (int i = 0; i < kOuterRows; ++i)
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) s[i][v] = load(out + i * b.kWidth + v * kLanes) * rescale.v[v];
    add_outer(s, values + d, D, b.weights, b.kWidth, keys);
#pragma GCC unroll 8
    for (int i = 0; i < kOuterRows; ++i)
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) store(out + i * b.kWidth + v * kLanes, s[i][v]);
  }
}

// Q^T from query rows [first, first + rows); lanes past them are zero.
template <int V, class E>
void gather(Block<V>& b, const E* q, const Head& head, int64_t first, int64_t rows) {
  const int64_t D = head.kv.head_dim;
  QueryRows from(head, first);
  for (int v = 0; v < V; ++v) {
    const E* row[kLanes];
    const int64_t n = least(kLanes, rows - v * kLanes);
    for (int64_t i = 0; i < n; ++i, from.next()) row[i] = q + from.query();
    for (int64_t d = 0; d < D; d += kLanes)
      transpose16([&](int64_t i) { return i < n ? load(row[i] + d, D - d) : zero(); },
                  [&](int64_t j, F32x16 column) { store(b.queries + (d + j) * b.kWidth + v * kLanes, column); });
  }
}

// The tree over the lane sums of every row: j is joined with j + 8, then + 4, + 2, + 1.
template <int V>
F32x16 total(Block<V>& b, int v) {
  F32x16 s[kLanes];
  for (int64_t j = 0; j < kLanes; ++j) s[j] = load(b.lane_sums + j * b.kWidth + v * kLanes);
  for (int64_t half = kLanes / 2; half > 0; half /= 2)
    for (int64_t j = 0; j < half; ++j) s[j] = s[j] + s[j + half];
  return s[0];
}

template <int V, class E>
void scatter(Block<V>& b, E* out, float* lse, const Head& head, int64_t first, int64_t rows, Rows<V> reference) {
  const int64_t D = head.kv.head_dim;
  QueryRows to(head, first);
  for (int v = 0; v < V; ++v) {
    const int64_t n = least(kLanes, rows - v * kLanes);
    const F32x16 sum = total(b, v), inverse = set1(1.0f) / sum;
    E* row[kLanes];
    float lane[kLanes];
    if (lse) store(lane, log_shifted(sum, reference.v[v]));
    for (int64_t i = 0; i < n; ++i, to.next()) {
      row[i] = out + to.query();
      if (lse) lse[to.lse()] = lane[i];
    }
    for (int64_t d = 0; d < D; d += kLanes)
      transpose16([&](int64_t j) { return load(b.sums + (d + j) * b.kWidth + v * kLanes) * inverse; },
                  [&](int64_t i, F32x16 a) {
                    if (i < n) store(row[i] + d, a, D - d);
                  });
  }
}

// Room for the keys and values of a tile that are widened.
template <class E>
struct Room {
  float *keys = nullptr, *values = nullptr;
};
template <>
struct Room<bf16> {
  alignas(64) float keys[kKeyTile * kMaxHeadDim], values[kKeyTile * kMaxHeadDim + KvShape::kTail];
};

template <int V, class E>
void forward_block(E* out, float* lse, const E* q, const E* blocks, float scale, const Head& head, int64_t first,
                   int64_t rows) {
  Room<E> room;
  const int64_t D = head.kv.head_dim, padded = head.kv.padded_dim(), last = first + rows - 1;
  const float base = scale * kLog2E;
  Block<V> b;
  gather(b, q, head, first, rows);
  fill_zero(b.sums, padded * b.kWidth);
  fill_zero(b.lane_sums, kLanes * b.kWidth);
  Rows<V> reference;
  for (int v = 0; v < V; ++v) reference.v[v] = set1(kNoReference);
  for (int64_t tile = head.first_tile(first); tile < head.tiles_of(last); ++tile) {
    const int64_t keys = least(kKeyTile, head.valid(last, tile));
    const int64_t groups = ceil_div(keys, kKeyGroup);
    const Rows<V> rescale = softmax_tile(b, as_f32(room.keys, head.keys(blocks, tile), groups * kKeyGroup * D), D, groups, base,
                                         Diagonal(head, first, tile, rows), reference);
    add_values(b, as_f32(room.values, head.values(blocks, tile), keys * D + KvShape::kTail), D, keys, rescale);
  }
  scatter(b, out, lse, head, first, rows, reference);
}

}  // namespace

void forward_rows(TensorRef out, float* lse, TensorView q, TensorView blocks, float scale, const Head& head, int64_t first,
                  int64_t last) {
  with_type(out, [&]<class E>(E* to) {
    for (int64_t r = first; r < last; r += kBlockRows) {
      const int64_t rows = least(kBlockRows, last - r);
      if (rows > kLanes)
        forward_block<2>(to, lse, q.as<E>(), blocks.as<E>(), scale, head, r, rows);
      else
        forward_block<1>(to, lse, q.as<E>(), blocks.as<E>(), scale, head, r, rows);
    }
  });
}

}  // namespace zazen::ZAZEN_ISA

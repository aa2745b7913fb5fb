// The backward of attention, tile of keys by block of query rows. With s the scores, p the weights and lanes = keys:
//   p = exp(s - lse), dV += p^T dout, ds = p (dout v^T - delta), dQ += ds K, dK += ds^T Q, delta = dout . out
// dQ and dK take the scale of the scores at the end. Every gradient is one chain: dQ over keys, dK and dV over query rows.
#include "kernels/cpu/attention.h"

namespace zazen::ZAZEN_ISA {
namespace {

constexpr int64_t kRows = 32;                         // query rows in a block
constexpr int kTileStep = kTileVectors == 2 ? 4 : 2;  // query rows of a register tile of two products

// What one head keeps on the stack for a tile of keys and a block of rows; P = padded head dimension.
template <int64_t P, class E>
struct Scratch {
  const float* columns;                                          // K^T in groups of 16 positions, as blocks have it
  alignas(64) float wide[sizeof(E) == 2 ? kKeyTile * P : 16];    // where it is copied to
  alignas(64) float keys[kKeyTile * P], values[kKeyTile * P];    // K [64][P], V^T [P][64]
  alignas(64) float dkeys[kKeyTile * P], dvalues[kKeyTile * P];  // dK^T, dV^T [P][64]
  alignas(64) float queries[kRows * P], dout[kRows * P], dqueries[kRows * P];
  alignas(64) float weights[kRows * kKeyTile], dscores[kRows * kKeyTile];
};

// Of every query row of the head: delta, and lse in base 2.
struct RowTerms {
  float delta, lse;
};

template <class E>
struct BackwardArgs {
  float *dq, *dk, *dv;
  const float *dout, *lse;
  const E *out, *q, *blocks;
  const AttentionArgs& attention;
};

template <class E>
float dot(const float* a, const E* b, int64_t n) {
  F32x16 total = zero();
  for (int64_t i = 0; i < n; i += kLanes) total = fma(load(a + i, n - i), load(b + i, n - i), total);
  return sum(total);
}

template <class E>
std::vector<RowTerms> row_terms(const BackwardArgs<E>& args, const Head& head) {
  std::vector<RowTerms> terms(static_cast<size_t>(head.rows()));
  QueryRows row(head, 0);
  for (int64_t r = 0; r < head.rows(); ++r, row.next())
    terms[r] = {dot(args.dout + row.query(), args.out + row.query(), head.kv.head_dim), args.lse[row.lse()] * kLog2E};
  return terms;
}

// K, V^T of a tile; `keys` positions of it are filled.
template <int64_t P, class E>
void open_tile(Scratch<P, E>& s, const Head& head, const E* blocks, int64_t tile, int64_t keys) {
  const int64_t D = head.kv.head_dim;
  const E *k = head.keys(blocks, tile), *v = head.values(blocks, tile);
  s.columns = as_f32(s.wide, k, ceil_div(keys, kKeyGroup) * kKeyGroup * D);
  for (int64_t key = 0; key < keys; key += kKeyGroup) {
    for (int64_t d = 0; d < D; d += kLanes) {
      transpose16(s.keys + key * P + d, P, k + head.kv.key_index(key, d), kKeyGroup, least(kLanes, D - d));
      transpose16(s.values + d * kKeyTile + key, kKeyTile, v + key * D + d, D, least(kLanes, keys - key));
    }
  }
  fill_zero(s.dkeys, kKeyTile * P);
  fill_zero(s.dvalues, kKeyTile * P);
}

// Keys of a tile that a row sees: gone .. valid - 1.
struct Seen {
  int64_t gone, valid;
};

// Weights and gradients of the scores of R rows and V vectors of keys. Lanes of keys that a row does not see become zero.
template <int64_t P, int R, int V, bool kMasked, class E>
void score_gradient(Scratch<P, E>& s, const float* keys, const float* values, int64_t D, int64_t row, int64_t vector,
                    const RowTerms* terms, const Seen* seen, float base) {
  F32x16 score[R][V], dweight[R][V];
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) score[i][v] = dweight[i][v] = zero();
  const float *k = keys + vector * D * kKeyGroup, *t = values + vector * kLanes;
  const float *q = s.queries + row * P, *g = s.dout + row * P;
  const int64_t next_group = D * kKeyGroup;
  for (int64_t d = 0; d < D; ++d, k += kKeyGroup, t += kKeyTile) {
    F32x16 kd[V], vd[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      kd[v] = load(k + v * next_group);
      vd[v] = load(t + v * kLanes);
    }
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) {
      const F32x16 qd = set1(q[i * P + d]), gd = set1(g[i * P + d]);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) {
        score[i][v] = fma(qd, kd[v], score[i][v]);
        dweight[i][v] = fma(gd, vd[v], dweight[i][v]);
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i) {
    const F32x16 shift = set1(-terms[row + i].lse), delta = set1(terms[row + i].delta);
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      const int64_t at = (row + i) * kKeyTile + (vector + v) * kLanes;
      F32x16 p = exp2(fma(score[i][v], set1(base), shift)), ds = p * (dweight[i][v] - delta);
      if constexpr (kMasked) {
        const int64_t first = (vector + v) * kLanes;
        const int64_t from = seen[row + i].gone - first, to = seen[row + i].valid - first;
        p = keep(zero(), from, keep(p, to, zero()));
        ds = keep(zero(), from, keep(ds, to, zero()));
      }
      store(s.weights + at, p);
      store(s.dscores + at, ds);
    }
  }
}

// All scores of a block. Only vectors of keys that some row does not see need a mask: the first row sees least far ahead, and
// the last one least far back.
template <int64_t P, int V, class E>
void score_gradients(Scratch<P, E>& s, const float* keys, int64_t D, int64_t rows, int64_t vector, const RowTerms* terms,
                     const Seen* seen, int64_t gone, float base) {
  if (seen[0].valid < (vector + V) * kLanes || gone > vector * kLanes) {
    for (int64_t r = 0; r < rows; r += kTileStep)
      score_gradient<P, kTileStep, V, true>(s, keys, s.values, D, r, vector, terms, seen, base);
  } else {
    for (int64_t r = 0; r < rows; r += kTileStep)
      score_gradient<P, kTileStep, V, false>(s, keys, s.values, D, r, vector, terms, seen, base);
  }
}

// c [V vectors of D rows of 64] += A^T B, with A [rows][P], B [rows][64]: dV^T of dout and weights, dK^T of queries and ds.
template <int64_t P, int V>
void add_transposed(float* c, const float* a, const float* b, int64_t D, int64_t rows) {
  for (int64_t d = 0; d < D; d += kOuterRows) {
    F32x16 s[kOuterRows][V];
#pragma GCC unroll 8
    for (int i = 0; i < kOuterRows; ++i)
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) s[i][v] = load(c + (d + i) * kKeyTile + v * kLanes);
    add_outer(s, a + d, P, b, kKeyTile, rows);
#pragma GCC unroll 8
    for (int i = 0; i < kOuterRows; ++i)
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) store(c + (d + i) * kKeyTile + v * kLanes, s[i][v]);
  }
}

// The share of V vectors of keys in what a block adds to dkeys and dvalues, and their ds.
template <int64_t P, int V, class E>
void key_vectors(Scratch<P, E>& s, const float* keys, int64_t D, int64_t rows, int64_t whole, int64_t vector,
                 const RowTerms* terms, const Seen* seen, int64_t gone, float base) {
  score_gradients<P, V>(s, keys, D, whole, vector, terms, seen, gone, base);
  const int64_t at = vector * kLanes;
  add_transposed<P, V>(s.dvalues + at, s.dout, s.weights + at, D, rows);
  add_transposed<P, V>(s.dkeys + at, s.queries, s.dscores + at, D, rows);
}

// Copies D of P elements; the others become zero.
template <int64_t P, class E>
void copy_whole(float* to, const E* from, int64_t D) {
#pragma GCC unroll 4
  for (int64_t i = 0; i < P; i += kLanes) store(to + i, load(from + i, D - i));
}

// Adds the share of one tile of keys and rows [first, first + rows) to dq and to the tile's dkeys, dvalues.
template <int64_t P, class E>
void backward_block(Scratch<P, E>& s, const BackwardArgs<E>& args, const Head& head, const RowTerms* terms, int64_t tile,
                    int64_t first, int64_t rows) {
  const int64_t D = head.kv.head_dim, padded = head.kv.padded_dim();
  const float scale = args.attention.scale, base = scale * kLog2E;
  RowTerms term[kRows] = {};
  Seen seen[kRows] = {};
  QueryRows from(head, first);
  for (int64_t r = 0; r < rows; ++r, from.next()) {
    copy_whole<P>(s.queries + r * P, args.q + from.query(), D);
    copy_whole<P>(s.dout + r * P, args.dout + from.query(), D);
    if (tile > head.first_tile(first + r))
      copy_whole<P>(s.dqueries + r * P, args.dq + from.query(), D);
    else
      fill_zero(s.dqueries + r * P, P);
    term[r] = terms[first + r];
    seen[r] = {head.first_key(first + r) - tile * kKeyTile, from.position() + 1 - tile * kKeyTile};
  }
  const int64_t whole = ceil_div(rows, kTileStep) * kTileStep;
  fill_zero(s.queries + rows * P, (whole - rows) * P);
  fill_zero(s.dout + rows * P, (whole - rows) * P);
  // No row of the block sees more keys than its last.
  const int64_t gone = seen[rows - 1].gone, keys = least(kKeyTile, seen[rows - 1].valid), vectors = ceil_div(keys, kLanes);
  for (int64_t v = 0; v < vectors; v += kTileVectors) {
    if (v + kTileVectors <= vectors)
      key_vectors<P, kTileVectors>(s, s.columns, D, rows, whole, v, term, seen, gone, base);
    else
      key_vectors<P, 1>(s, s.columns, D, rows, whole, v, term, seen, gone, base);
  }
  small_matmul(s.dqueries, P, {s.dscores, kKeyTile, 1}, {s.keys, P, kLanes}, rows, padded, keys, true);
  QueryRows to(head, first);
  for (int64_t r = 0; r < rows; ++r, to.next()) {
    const F32x16 factor = set1(seen[r].valid <= kKeyTile ? scale : 1.0f);  // the row's last tile
    float* dq = args.dq + to.query();
#pragma GCC unroll 4
    for (int64_t d = 0; d < P; d += kLanes) store(dq + d, load(s.dqueries + r * P + d) * factor, D - d);
  }
}

// Rows of dk or dv from their transpose [P][64].
void store_rows(float* to, int64_t row, const float* transposed, int64_t D, int64_t keys, float scale) {
  for (int64_t key = 0; key < keys; key += kLanes)
    for (int64_t d = 0; d < D; d += kLanes)
      transpose16([&](int64_t j) { return load(transposed + (d + j) * kKeyTile + key) * set1(scale); },
                  [&](int64_t i, F32x16 a) {
                    if (key + i < keys) store(to + (key + i) * row + d, a, D - d);
                  });
}

template <int64_t P, class E>
void backward_head(const BackwardArgs<E>& args, const Head& head) {
  const int64_t D = head.kv.head_dim, rows = head.rows();
  const std::vector<RowTerms> terms = row_terms(args, head);
  Scratch<P, E> s;
  fill_zero(s.keys, kKeyTile * P);  // lanes past D, too, take part
  for (int64_t tile = 0; tile * kKeyTile < head.span.count; ++tile) {
    const int64_t keys = least(kKeyTile, head.span.count - tile * kKeyTile);
    open_tile(s, head, args.blocks, tile, keys);
    // Rows before the tile see none of its keys, and rows a window past it none any more.
    const int64_t past = head.window > 0 ? ((tile + 1) * kKeyTile + head.window - 1) * head.group : rows,
                  end = least(rows, past);
    for (int64_t r = tile * kKeyTile * head.group; r < end; r += kRows)
      backward_block(s, args, head, terms.data(), tile, r, least(kRows, end - r));
    const int64_t at = (head.span.row + tile * kKeyTile) * head.key_row + head.index * D;
    store_rows(args.dk + at, head.key_row, s.dkeys, D, keys, args.attention.scale);
    store_rows(args.dv + at, head.key_row, s.dvalues, D, keys, 1.0f);
  }
}

template <class E>
void backward_unit(const BackwardArgs<E>& args, const Head& head) {
  const int64_t padded = head.kv.padded_dim();
  if (padded <= 16) return backward_head<16>(args, head);
  if (padded <= 32) return backward_head<32>(args, head);
  if (padded <= 64) return backward_head<64>(args, head);
  if (padded <= 128) return backward_head<128>(args, head);
  return backward_head<kMaxHeadDim>(args, head);
}

}  // namespace

void attention_backward(ThreadPool& pool, float* dq, float* dk, float* dv, const float* dout, TensorView out, const float* lse,
                        TensorView q, TensorView blocks, const AttentionArgs& args) {
  const std::vector<Piece> pieces = cut_work(args, 0);
  with_type(out, [&]<class E>(const E* outputs) {
    const BackwardArgs<E> backward{dq, dk, dv, dout, lse, outputs, q.as<E>(), blocks.as<E>(), args};
    parallel_for(pool, static_cast<int64_t>(pieces.size()), [&](int64_t i) {
      for (int64_t unit = pieces[i].begin; unit < pieces[i].end; ++unit) backward_unit(backward, Head(args, unit));
    });
  });
}

}  // namespace zazen::ZAZEN_ISA

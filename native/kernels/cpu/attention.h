// What the two paths of the forward and the backward share: one KV head of one span, its tiles, and how work is cut into tasks.
// Queries, keys, values and outputs are of one type; bf16 is widened as it is read, and all arithmetic is f32.
//
// The order that makes a row's bits its own, whatever computes it: scores are chains over d in ascending order; tiles are
// visited in order of position with an online softmax in base 2 (Milakov and Gimelshein 2018; Dao et al. 2022, algorithm 1);
// the sum of exponentials is 16 chains over keys, lane = key % 16, and one tree at the end; the output is a chain over keys.
// Tiles and lanes that a row does not see add exact zeros: a row may also be taken through tiles before its first.
#pragma once

#include <vector>

#include "kernels/cpu/ops.h"
#include "kernels/cpu/simd_transpose.h"
#include "kernels/cpu/tile.h"

namespace zazen::ZAZEN_ISA {

static_assert(KvShape::kTail >= kLanes - 1, "the last row of a block is read in whole vectors");

constexpr float kMinusInfinity = -__builtin_inff();
constexpr float kNoReference = -3.4e38f;  // of a row that has seen no key: finite, so that differences are

// One KV head of one span. Its query rows are numbered r = (row in span) * group + (head in group).
struct Head {
  KvShape kv;
  int64_t group, query_row, key_row;  // query heads a KV head; row lengths of q and of k
  int64_t window;
  int64_t index;
  Span span;

  // `unit` counts the KV heads of all spans.
  Head(const AttentionArgs& args, int64_t unit)
      : kv(args.kv),
        group(args.heads / kv.kv_heads),
        query_row(args.heads * kv.head_dim),
        key_row(kv.kv_heads * kv.head_dim),
        window(args.window),
        index(unit % kv.kv_heads),
        span(args.spans[unit / kv.kv_heads]) {}
  int64_t rows() const { return span.count * group; }
  // Offset of query row r in q, out and dq.
  int64_t query(int64_t r) const { return (span.row + r / group) * query_row + (index * group + r % group) * kv.head_dim; }
  // Keys of tile `tile` that row r may see: 0 or less when none, 64 or more when all.
  int64_t valid(int64_t r, int64_t tile) const { return span.position + r / group + 1 - tile * kKeyTile; }
  int64_t tiles_of(int64_t r) const { return (span.position + r / group) / kKeyTile + 1; }
  // First position that row r sees.
  int64_t first_key(int64_t r) const {
    const int64_t outside = window > 0 ? span.position + r / group + 1 - window : 0;
    return outside > 0 ? outside : 0;
  }
  int64_t first_tile(int64_t r) const { return first_key(r) / kKeyTile; }
  template <class E>
  E* keys(E* blocks, int64_t tile) const {
    return blocks + span.blocks[tile] * kv.block_elements() + index * kv.head_elements();
  }
  template <class E>
  const E* values(const E* blocks, int64_t tile) const {
    return keys(blocks, tile) + kv.key_elements();
  }
};

// Visits consecutive query rows without a division for each.
class QueryRows {
 public:
  QueryRows(const Head& head, int64_t r)
      : D_(head.kv.head_dim),
        group_(head.group),
        skip_(head.query_row / head.kv.head_dim - head.group),
        in_group_(r % head.group),
        at_(head.query(r) / head.kv.head_dim),
        position_(head.span.position + r / head.group) {}
  int64_t lse() const { return at_; }         // where the row lies in lse
  int64_t query() const { return at_ * D_; }  // in q, out and dq
  int64_t position() const { return position_; }
  void next() {
    ++at_;
    if (++in_group_ < group_) return;
    in_group_ = 0;
    at_ += skip_;
    ++position_;
  }

 private:
  int64_t D_, group_, skip_, in_group_, at_, position_;
};

// Fills the last vector up with zeros. Scratch is worked on in whole vectors, because a masked store followed by a load of the
// same address stalls.
template <class E>
inline void copy_padded(float* to, const E* from, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) store(to + i, load(from + i, n - i));
}

// f32 is read where it lies; bf16 is copied to `room`, whole vectors.
inline const float* as_f32(float*, const float* from, int64_t) { return from; }
inline const float* as_f32(float* room, const bf16* from, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) store(room + i, load(from + i));
  return room;
}

// c [R][16 V] += the outer products of a[k a_step .. + R) and b[k b_step .. + 16 V), for k = 0 .. K - 1 in order.
template <int R, int V>
inline void add_outer(F32x16 (&c)[R][V], const float* a, int64_t a_step, const float* b, int64_t b_step, int64_t K) {
  for (int64_t k = 0; k < K; ++k, a += a_step, b += b_step) {
    F32x16 row[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) row[v] = load(b + v * kLanes);
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) {
      const F32x16 ai = set1(a[i]);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) c[i][v] = fma(ai, row[v], c[i][v]);
    }
  }
}
constexpr int kOuterRows = kTileVectors == 2 ? 8 : 4;  // R of the call above: accumulators for half the registers

inline void fill_zero(float* to, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) store(to + i, zero());
}

// One head and one position have few rows: these wait for latency and memory, so all heads of a position are worked on
// together. More rows fill vectors of their own. The choice changes the speed and never the bits.
constexpr int64_t kFewRows = 8;
constexpr int kBlockVectors = 2;                        // vectors of query rows in a block of many rows
constexpr int64_t kBlockRows = kBlockVectors * kLanes;  // query rows in a block

// Units [begin, end), a unit being one KV head of one span, and positions [first, last) of each that the span has.
struct Piece {
  int64_t begin, end, first, last;
};
// attention.cc: tasks of about the same work, whatever the number of threads. A unit may be cut every `step` positions, or not
// when that is 0.
std::vector<Piece> cut_work(const AttentionArgs& args, int64_t step);

// attention_decode.cc: row `row` of the span at its position, KV heads [first, last).
void decode_position(TensorRef out, float* lse, TensorView q, TensorView blocks, const AttentionArgs& args, int64_t span,
                     int64_t row, int64_t first, int64_t last);
// attention_forward.cc: query rows [first, last) of one KV head of one span.
void forward_rows(TensorRef out, float* lse, TensorView q, TensorView blocks, float scale, const Head& head, int64_t first,
                  int64_t last);

}  // namespace zazen::ZAZEN_ISA

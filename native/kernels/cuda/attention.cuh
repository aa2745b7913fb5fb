// What the kernels of attention share: the spans of a launch, one KV head of one of them, tiles of rows in shared memory, and
// the two products that attention is made of.
//
// The query rows of a KV head are numbered r = (row in span) * group + (head in group): a tile of rows shares its keys, and in
// decoding the heads of one position fill it. The order that makes a row's bits its own, whatever shares its tile:
//  - a score is one accumulator fed by m16n8k16 steps in order of d;
//  - tiles of 64 keys at absolute positions are visited in order, with an online softmax in base 2 (Milakov and Gimelshein
//    2018; Dao et al. 2022, algorithm 1);
//  - the sum of exponentials is four chains over keys, lane = key / 2 % 4, joined at the end;
//  - an output is one accumulator fed by steps of 16 keys in order; weights are rounded to bf16 for it, and not for the sum.
// Keys that a row does not see have weight 0, and their values are finite, or zeros past the last row of the block. So whole
// tiles that a row does not see change nothing and may be left out.
#pragma once

#include <algorithm>

#include "kernels/cuda/tile.cuh"

namespace zazen::cuda {

constexpr int kTileKeys = static_cast<int>(kKeyTile);
constexpr int kStep = 16;  // depth of a matrix instruction, and rows of a fragment
constexpr float kLog2E = 1.44269504f;

// A span as a kernel sees it; `first` is the first of its blocks in the launch.
struct WorkSpan {
  const int32_t* blocks;
  int32_t row, count, position, first;
};

// What one launch works on. It travels in the launch's parameters, so that nothing is uploaded and nobody waits: they hold
// 4,096 bytes. Calls with more spans start more launches.
constexpr int kWorkSpans = 160;
struct Work {
  static constexpr int kInverseBits = 20;
  int64_t rows = 0;            // of q
  int64_t block_elements = 0;  // of the KV store
  int32_t D = 0, kv_heads = 0, group = 0, group_inverse = 0, window = 0;
  float scale = 0;
  int32_t count = 0;
  WorkSpan spans[kWorkSpans] = {};
};
constexpr size_t kOtherParameters = 128;  // bytes for pointers beside it
static_assert(sizeof(Work) + kOtherParameters <= 4096);

// Bytes of shared memory that a block has on compute capabilities 8.6 and 8.9, which have least. Head dims up to 128 keep to
// them; larger ones need an A100 or an H100.
constexpr size_t kLeastShared = 99 << 10;
template <class S, class Shared>
constexpr bool kFits = S::P > 128 || sizeof(Shared) <= kLeastShared;

// A tile of query rows and a group are so small that x / group is x * group_inverse >> kInverseBits for x in a tile behind the
// start of a group.
constexpr int64_t kMaxGroup = 512;

// One KV head of the span that a block of threads belongs to.
struct Unit {
  const Work& work;
  const WorkSpan span;
  int head, piece;  // `piece` counts the span's blocks in the launch

  __device__ Unit(const Work& of, int kv_head)
      : work(of), span(of.spans[span_of(of)]), head(kv_head), piece(static_cast<int>(blockIdx.x) - span.first) {}

  __device__ __forceinline__ int rows() const { return span.count * work.group; }
  __device__ __forceinline__ int position(int r) const { return span.position + r / work.group; }
  // First position that row r sees.
  __device__ __forceinline__ int first_key(int r) const {
    const int outside = work.window > 0 ? position(r) + 1 - work.window : 0;
    return outside > 0 ? outside : 0;
  }
  // Where row r lies in lse: [T, heads].
  __device__ __forceinline__ int64_t row(int r) const {
    return ((span.row + static_cast<int64_t>(r / work.group)) * work.kv_heads + head) * work.group + r % work.group;
  }
  // In q, out and dq: [T, heads, D].
  __device__ __forceinline__ int64_t query(int r) const { return row(r) * work.D; }
  // In k, v, dk and dv [T, kv_heads, D], of a row of the span.
  __device__ __forceinline__ int64_t key(int i) const {
    return ((span.row + static_cast<int64_t>(i)) * work.kv_heads + head) * work.D;
  }
  // The head's keys in KV block `block`; its values lie behind them, and both are rows [64][D] (KvLayout::rows).
  template <class E>
  __device__ __forceinline__ E* keys(E* store, int32_t block) const {
    return store + block * work.block_elements + head * int64_t{2} * kTileKeys * work.D;
  }
  template <class E>
  __device__ __forceinline__ E* values(E* store, int32_t block) const {
    return keys(store, block) + kTileKeys * work.D;
  }

 private:
  static __device__ __forceinline__ int span_of(const Work& work) {
    int low = 0, high = work.count - 1;
    while (low < high) {
      const int middle = (low + high + 1) / 2;
      if (work.spans[middle].first <= static_cast<int>(blockIdx.x))
        low = middle;
      else
        high = middle - 1;
    }
    return low;
  }
};

// Fills the first Lines rows of a tile [Lines][P]: row_of(line) is the address of a row of D elements, or null for zeros.
template <int Threads, int Lines, int P, bool Aligned, class RowOf>
__device__ __forceinline__ void fill_lines(bf16* tile, const bf16* anywhere, int D, const RowOf& row_of) {
  using Layout = Tile<Lines, P, true>;
  static_assert(Lines * Layout::kChunks % Threads == 0);
#pragma unroll 1  // addresses of all steps would fill the registers that the sums need
  for (int i = 0; i < Lines * Layout::kChunks / Threads; ++i) {
    const int at = i * Threads + static_cast<int>(threadIdx.x), line = at / Layout::kChunks, chunk = at % Layout::kChunks;
    const bf16* from = row_of(line);
    const int left = from ? D - chunk * kEight : 0;
    fill_chunk<Aligned>(tile + Layout::place(line, chunk), left > 0 ? from + chunk * kEight : anywhere, anywhere, left);
  }
}

// The first `valid` of `Lines` rows that lie one after the other.
template <int Threads, int Lines, int P, bool Aligned>
__device__ __forceinline__ void fill_block(bf16* tile, const bf16* rows, int D, int valid) {
  fill_lines<Threads, Lines, P, Aligned>(tile, rows, D, [&](int line) { return line < valid ? rows + line * D : nullptr; });
}

// Query rows `first` .. of a head, of q or of an array of its shape.
template <int Threads, int Lines, int P, bool Aligned>
__device__ __forceinline__ void fill_queries(bf16* tile, const bf16* q, const Unit& unit, int first) {
  const Work& work = unit.work;
  const int behind = first % work.group, left = unit.rows() - first;
  const bf16* start = q + unit.query(first - behind);
  const int64_t position_elements = static_cast<int64_t>(work.kv_heads) * work.group * work.D;
  fill_lines<Threads, Lines, P, Aligned>(tile, q, work.D, [&](int line) -> const bf16* {
    const int r = behind + line, position = r * work.group_inverse >> Work::kInverseBits;
    return line < left ? start + position * position_elements + (r - position * work.group) * work.D : nullptr;
  });
}

// sums += 16 Down rows of `left`, from `row` on, times 16 Across rows of `right`, from `column` on: both are tiles of lines
// [P].
template <int P, int Down, int Across>
__device__ __forceinline__ void multiply_rows(float (&sums)[Down][2 * Across][4], const bf16* left, int row, const bf16* right,
                                              int column) {
#pragma unroll
  for (int k = 0; k < P; k += kStep) {
    uint32_t a[Down][4];
#pragma unroll
    for (int i = 0; i < Down; ++i) load_left<kTileKeys, P, true>(a[i], left, row + i * kStep, k);
#pragma unroll
    for (int j = 0; j < Across; ++j) {
      uint32_t b[4];
      load_right<kTileKeys, P, true>(b, right, column + j * kStep, k);
#pragma unroll
      for (int i = 0; i < Down; ++i) {
        multiply_add(sums[i][2 * j], a[i], b[0], b[1]);
        multiply_add(sums[i][2 * j + 1], a[i], b[2], b[3]);
      }
    }
  }
}

// sums += weights, rounded to bf16, times lines of a tile [P], from `line` on: 16 of them for each of Steps, and 8 Columns of
// their elements, from `column` on. The weights are where multiply_rows left its sums.
template <int P, int Down, int Steps, int Columns>
__device__ __forceinline__ void multiply_weights(float (&sums)[Down][Columns][4], const float (&weights)[Down][2 * Steps][4],
                                                 const bf16* tile, int line, int column) {
#pragma unroll
  for (int k = 0; k < Steps; ++k) {
    uint32_t a[Down][4];
#pragma unroll
    for (int i = 0; i < Down; ++i)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float(&w)[4] = weights[i][2 * k + half];
        a[i][2 * half] = narrow_pair(w[0], w[1]);
        a[i][2 * half + 1] = narrow_pair(w[2], w[3]);
      }
#pragma unroll
    for (int j = 0; j < Columns / 2; ++j) {
      uint32_t b[4];
      load_right<P, kTileKeys, false>(b, tile, column + j * kStep, line + k * kStep);
#pragma unroll
      for (int i = 0; i < Down; ++i) {
        multiply_add(sums[i][2 * j], a[i], b[0], b[1]);
        multiply_add(sums[i][2 * j + 1], a[i], b[2], b[3]);
      }
    }
  }
}

// Row and column of sum [i][j][e] of a thread within its warp's sums.
__device__ __forceinline__ int sum_row(int i, int e) {
  return i * kStep + static_cast<int>(threadIdx.x) % kWarp / 4 + e / 2 * 8;
}
__device__ __forceinline__ int sum_column(int j, int e) { return static_cast<int>(threadIdx.x) % 4 * 2 + j * 8 + e % 2; }

// Columns from .. to - 1 of a row, for a thread.
struct Columns {
  int from, to;
  __device__ Columns(int first, int end) : from(first - sum_column(0, 0)), to(end - sum_column(0, 0)) {}
  __device__ __forceinline__ bool have(int j, int e) const { return j * 8 + e % 2 >= from && j * 8 + e % 2 < to; }
};

// ---- on the host

constexpr int kPaddedDims[] = {64, 128, 256};  // P: head dimensions are filled up with zeros

// Calls body(std::integral_constant<int, P>) for the least P that holds D.
template <class Body>
void with_padded_dim(int64_t D, const Body& body) {
  if (D <= kPaddedDims[0]) return body(std::integral_constant<int, kPaddedDims[0]>{});
  if (D <= kPaddedDims[1]) return body(std::integral_constant<int, kPaddedDims[1]>{});
  body(std::integral_constant<int, kPaddedDims[2]>{});
}

inline Call attention_call(const char* op, const AttentionArgs& args) {
  return {op, {{"spans", args.span_count}, {"heads", args.heads}, {"kv_heads", args.kv.kv_heads}, {"D", args.kv.head_dim}}};
}

// Calls start(work, blocks) for launches of as many spans as fit; pieces_of(span) says how many blocks a span gets, 0 for none.
template <class PiecesOf, class Start>
void for_work(const AttentionArgs& args, const PiecesOf& pieces_of, const Start& start) {
  ZAZEN_CHECK(args.heads <= kMaxGroup * args.kv.kv_heads, "UNSUPPORTED", "[attention] expected at most ", kMaxGroup,
              " query heads for a KV head, got ", args.heads, " for ", args.kv.kv_heads);
  Work work{.block_elements = args.kv.block_elements(),
            .D = static_cast<int32_t>(args.kv.head_dim),
            .kv_heads = static_cast<int32_t>(args.kv.kv_heads),
            .group = static_cast<int32_t>(args.heads / args.kv.kv_heads),
            .group_inverse = static_cast<int32_t>(ceil_div(1 << Work::kInverseBits, args.heads / args.kv.kv_heads)),
            .scale = args.scale};
  int64_t positions = 0;
  for (int64_t s = 0; s < args.span_count; ++s) {
    const Span& span = args.spans[s];
    work.rows = std::max(work.rows, span.row + span.count);
    positions = std::max(positions, span.position + span.count);
  }
  work.window = args.window < positions ? static_cast<int32_t>(args.window) : 0;  // one that hides nothing could overflow
  int64_t blocks = 0;
  for (int64_t s = 0; s < args.span_count; ++s) {
    const Span& span = args.spans[s];
    const int64_t pieces = pieces_of(span);
    if (pieces > 0) {
      work.spans[work.count++] = {span.blocks, static_cast<int32_t>(span.row), static_cast<int32_t>(span.count),
                                  static_cast<int32_t>(span.position), static_cast<int32_t>(blocks)};
      blocks += pieces;
    }
    if (work.count < kWorkSpans && s + 1 < args.span_count) continue;
    start(work, blocks);
    work.count = 0;
    blocks = 0;
  }
}

// attention_exact.cu: the same ops in f32.
void exact_attention_forward(float* out, float* lse, const float* q, const float* store, const AttentionArgs& args);
void exact_attention_backward(float* dq, float* dk, float* dv, const float* dout, const float* out, const float* lse,
                              const float* q, const float* store, const AttentionArgs& args);

}  // namespace zazen::cuda

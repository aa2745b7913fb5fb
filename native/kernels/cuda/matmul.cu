// Linear layers. On the device W is row-major [N, K]; so is its gradient, in f32.
//
// bf16: the definition of a product. Each output is one f32 accumulator that starts from zero, or from what the output holds,
// and is fed by mma.sync m16n8k16 steps in order of k, the last one filled up with zeros; it is rounded once when it is stored.
// Nothing is split over k. So tiles decide where data waits, never a bit: one kernel serves all shapes with the tiles of kWide,
// or of kSkinny where there are at most 64 rows, and a row's bits depend on neither.
//   kWide: tiles of 128 x 128 x 32 in 4 stages, 8 warps of 64 x 32. Limit: mma.sync's rate, about two thirds of wgmma's on
//   Hopper. Blocks of 8 tiles of rows take the same columns one after the other, for L2's sake.
//   kSkinny: tiles of 16, 32 or 64 rows by 32 columns by 64 in 8 stages, 2 warps. Limit: memory bandwidth, W read once.
// Where a program has opened cuBLASLt (exact_library.h), it computes the wide shapes for which it has the same bits.
//
// f32: each output is one chain of fused multiply-adds in order of k, which has the bits of the CPU; 64 x 64 tiles on CUDA
// cores. It is there to be exact, not fast.
#include "kernels/cuda/exact_library.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/tile.cuh"
#include "kernels/cuda/workspace.h"

namespace zazen::cuda {
namespace {

template <int Rows, int Columns, int Depth, int WarpsDown, int WarpsAcross, int Stages>
struct Shape {
  static constexpr int kRows = Rows, kColumns = Columns, kDepth = Depth, kStages = Stages;
  static constexpr int kThreads = WarpsDown * WarpsAcross * kWarp, kWarpsAcross = WarpsAcross;
  static constexpr int kWarpRows = Rows / WarpsDown, kWarpColumns = Columns / WarpsAcross;
  static constexpr int kDown = kWarpRows / 16, kAcross = kWarpColumns / 16;  // fragments of a warp
};
using Wide = Shape<128, 128, 32, 2, 4, 4>;
template <int Rows>
using Skinny = Shape<Rows, 32, 64, 1, 2, 8>;
constexpr int64_t kSkinnyRows = 64;
constexpr int64_t kTilesTogether = 8;  // tiles of rows that take the same columns one after the other
constexpr int kStep = 16;              // depth of an instruction

template <class S>
struct Shared {
  bf16 left[S::kStages][S::kRows * S::kDepth], right[S::kStages][S::kColumns * S::kDepth];
};

// Which tile of the output a block has.
struct Corner {
  int64_t row, column;
};
template <class S>
__device__ Corner corner_of(int64_t block, int64_t M, int64_t N) {
  const int64_t down = (M + S::kRows - 1) / S::kRows, across = (N + S::kColumns - 1) / S::kColumns;
  const int64_t group = block / (kTilesTogether * across), first = group * kTilesTogether;
  const int64_t height = down - first < kTilesTogether ? down - first : kTilesTogether,
                in_group = block % (kTilesTogether * across);
  return {(first + in_group % height) * S::kRows, in_group / height * S::kColumns};
}

template <class Y>
struct Output {
  Y* data;
  int64_t ld, rows, columns;
  bool accumulate;
};

// Calls body(sum, row, column) for every accumulator of the thread that is inside of the output.
template <class S, class Y, class Sums, class Body>
__device__ __forceinline__ void for_outputs(Sums& sums, const Output<Y>& y, const Corner& corner, const Body& body) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const int64_t row = corner.row + warp / S::kWarpsAcross * S::kWarpRows + lane / 4;
  const int64_t column = corner.column + warp % S::kWarpsAcross * S::kWarpColumns + lane % 4 * 2;
#pragma unroll
  for (int i = 0; i < S::kDown; ++i)
#pragma unroll
    for (int j = 0; j < 2 * S::kAcross; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int64_t r = row + i * 16 + e / 2 * 8, c = column + j * 8 + e % 2;
        if (r < y.rows && c < y.columns) body(sums[i][j][e], r, c);
      }
}

// One stage: kDepth of k in steps of 16.
template <class S, bool KMajor, class Sums>
__device__ __forceinline__ void multiply_stage(Sums& sums, const bf16* left, const bf16* right) {
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int row = warp / S::kWarpsAcross * S::kWarpRows, column = warp % S::kWarpsAcross * S::kWarpColumns;
#pragma unroll
  for (int k = 0; k < S::kDepth; k += kStep) {
    uint32_t a[S::kDown][4], b[S::kAcross][4];
#pragma unroll
    for (int i = 0; i < S::kDown; ++i) load_left<S::kRows, S::kDepth, KMajor>(a[i], left, row + i * 16, k);
#pragma unroll
    for (int j = 0; j < S::kAcross; ++j) load_right<S::kColumns, S::kDepth, KMajor>(b[j], right, column + j * 16, k);
#pragma unroll
    for (int i = 0; i < S::kDown; ++i)
#pragma unroll
      for (int j = 0; j < 2 * S::kAcross; ++j) multiply_add(sums[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
  }
}

template <class S, bool KMajor, bool Aligned, class L, class R, class Y>
__global__ void __launch_bounds__(S::kThreads) product_kernel(const Output<Y> y, const Operand<L> l, const Operand<R> r) {
  Shared<S>& shared = shared_memory<Shared<S>>();
  const Corner corner = corner_of<S>(blockIdx.x, y.rows, y.columns);
  const int64_t stages = (l.depth + S::kDepth - 1) / S::kDepth;
  const auto fill = [&](int64_t stage) {
    const int slot = static_cast<int>(stage % S::kStages);
    if (stage < stages) {
      fill_tile<S::kThreads, S::kRows, S::kDepth, KMajor, Aligned>(shared.left[slot], l, corner.row, stage * S::kDepth);
      fill_tile<S::kThreads, S::kColumns, S::kDepth, KMajor, Aligned>(shared.right[slot], r, corner.column, stage * S::kDepth);
    }
    commit_copies();
  };
  float sums[S::kDown][2 * S::kAcross][4] = {};
  if (y.accumulate)
    for_outputs<S>(sums, y, corner, [&](float& sum, int64_t row, int64_t column) { sum = get(y.data + row * y.ld + column); });
  for (int64_t stage = 0; stage < S::kStages - 1; ++stage) fill(stage);
  for (int64_t stage = 0; stage < stages; ++stage) {
    wait_for_copies<S::kStages - 2>();
    __syncthreads();  // the stage is there for all, and the one before it is used up
    fill(stage + S::kStages - 1);
    const int slot = static_cast<int>(stage % S::kStages);
    multiply_stage<S, KMajor>(sums, shared.left[slot], shared.right[slot]);
  }
  for_outputs<S>(sums, y, corner, [&](float& sum, int64_t row, int64_t column) { put(y.data + row * y.ld + column, sum); });
}

// ---- f32

constexpr int kExactTile = 64, kExactDepth = 16, kEach = 4;  // a thread has 4 x 4 outputs

struct ExactShared {
  float left[kExactDepth][kExactTile], right[kExactDepth][kExactTile];
};

// tile [k][row] of an operand; threads that are next to each other read along memory.
template <bool KMajor>
__device__ __forceinline__ void fill_exact(float (&tile)[kExactDepth][kExactTile], const Operand<float>& of, int64_t row,
                                           int64_t k) {
  for (int i = static_cast<int>(threadIdx.x); i < kExactDepth * kExactTile; i += kThreads) {
    const int r = KMajor ? i / kExactDepth : i % kExactTile, d = KMajor ? i % kExactDepth : i / kExactTile;
    const bool inside = row + r < of.rows && k + d < of.depth;
    tile[d][r] = !inside ? 0.0f : KMajor ? of.data[(row + r) * of.ld + k + d] : of.data[(k + d) * of.ld + row + r];
  }
}

template <bool KMajor, class Y>
__global__ void __launch_bounds__(kThreads) exact_kernel(const Output<Y> y, const Operand<float> l, const Operand<float> r) {
  ExactShared& shared = shared_memory<ExactShared>();
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kExactTile, column = static_cast<int64_t>(blockIdx.y) * kExactTile;
  const int down = static_cast<int>(threadIdx.x) / 16, across = static_cast<int>(threadIdx.x) % 16;
  const auto inside = [&](int i, int j) { return row + down + 16 * i < y.rows && column + across + 16 * j < y.columns; };
  const auto at = [&](int i, int j) { return y.data + (row + down + 16 * i) * y.ld + column + across + 16 * j; };
  float sums[kEach][kEach] = {};
  for (int i = 0; i < kEach; ++i)
    for (int j = 0; j < kEach; ++j)
      if (y.accumulate && inside(i, j)) sums[i][j] = get(at(i, j));
  for (int64_t k = 0; k < l.depth; k += kExactDepth) {
    fill_exact<KMajor>(shared.left, l, row, k);
    fill_exact<KMajor>(shared.right, r, column, k);
    __syncthreads();
    const int depth = l.depth - k < kExactDepth ? static_cast<int>(l.depth - k) : kExactDepth;
    for (int d = 0; d < depth; ++d)
#pragma unroll
      for (int i = 0; i < kEach; ++i)
#pragma unroll
        for (int j = 0; j < kEach; ++j)
          sums[i][j] = fmaf(shared.left[d][down + 16 * i], shared.right[d][across + 16 * j], sums[i][j]);
    __syncthreads();
  }
  for (int i = 0; i < kEach; ++i)
    for (int j = 0; j < kEach; ++j)
      if (inside(i, j)) put(at(i, j), sums[i][j]);
}

// ---- launches

template <bool KMajor, class Y>
void exact_product(const Call& call, const Output<Y>& y, const Operand<float>& l, const Operand<float>& r) {
  launch(call, exact_kernel<KMajor, Y>,
         {.x = ceil_div(y.rows, kExactTile),
          .y = ceil_div(y.columns, kExactTile),
          .threads = kThreads,
          .shared_bytes = sizeof(ExactShared)},
         y, l, r);
}

template <class S, bool KMajor, class Y, class L>
void tiled_product(const Call& call, const Output<Y>& y, const Operand<L>& l, const Operand<bf16>& r) {
  const int64_t tiles = ceil_div(y.rows, S::kRows) * ceil_div(y.columns, S::kColumns);
  const bool rows_aligned = aligned_rows(l.ld, l.data) && aligned_rows(r.ld, r.data);
  with_flag(rows_aligned, [&]<bool aligned>(Flag<aligned>) {
    launch(call, product_kernel<S, KMajor, aligned, L, bf16, Y>,
           {.x = tiles, .threads = S::kThreads, .shared_bytes = sizeof(Shared<S>)}, y, l, r);
  });
}

// ---- cuBLASLt, where its bits are the same

void own_product(const Product& p) {
  const Call call{"product", {{"rows", p.rows}, {"columns", p.columns}, {"depth", p.depth}}};
  const Operand<bf16> l{p.left, p.ld_left, p.rows, p.depth}, r{p.right, p.ld_right, p.columns, p.depth};
  with_type(p.out, [&]<class Y>(Y* out) {
    const Output<Y> y{out, p.ld_out, p.rows, p.columns, p.accumulate};
    if (p.k_major) return tiled_product<Wide, true>(call, y, l, r);
    if constexpr (std::is_same_v<Y, float>) tiled_product<Wide, false>(call, y, l, r);
  });
}

// False: the own kernel is to compute the product. An f32 operand is rounded first, as the own kernel rounds what it reads.
template <bool KMajor, class Y, class L>
bool by_library(ThreadPool& pool, const Output<Y>& y, const Operand<L>& l, const Operand<bf16>& r) {
  constexpr bool kRounds = std::is_same_v<L, float>;
  ExactLibrary* library = exact_library();
  const int64_t lines = KMajor ? l.rows : l.depth, length = KMajor ? l.depth : l.rows;
  if (!library || lines * length == 0 || y.columns == 0 || (kRounds && l.ld != length)) return false;
  Product p{y.rows, y.columns, l.depth, KMajor, y.accumulate, nullptr, l.ld, r.data, r.ld, y.data, y.ld};
  if constexpr (!kRounds) p.left = l.data;
  const lt::Algorithm* algorithm = library->algorithm(p, own_product);
  if (!algorithm) return false;
  if constexpr (kRounds) {
    bf16* rounded = workspace<bf16>(lines * length);
    weight_round(pool, rounded, l.data, lines * length, false);
    p.left = rounded;
  }
  library->multiply(p, *algorithm);
  return true;
}

template <bool KMajor, class Y, class L>
void product(ThreadPool& pool, const Call& call, const Output<Y>& y, const Operand<L>& l, const Operand<bf16>& r) {
  if (!KMajor || y.rows > kSkinnyRows) {
    if (!by_library<KMajor>(pool, y, l, r)) tiled_product<Wide, KMajor>(call, y, l, r);
    return;
  }
  if constexpr (KMajor) {
    if (y.rows <= 16) return tiled_product<Skinny<16>, KMajor>(call, y, l, r);
    if (y.rows <= 32) return tiled_product<Skinny<32>, KMajor>(call, y, l, r);
    tiled_product<Skinny<64>, KMajor>(call, y, l, r);
  }
}

}  // namespace

void linear_forward(ThreadPool& pool, TensorRef y, int64_t ldy, TensorView x, int64_t ldx, TensorView w, int64_t M, int64_t N,
                    int64_t K, bool accumulate) {
  const Call call{"linear_forward", {{"M", M}, {"N", N}, {"K", K}}};
  with_types(y, x, [&]<class Y, class X>(Y* out, const X* in) {
    const Output<Y> output{out, ldy, M, N, accumulate};
    const Operand<X> left{in, ldx, M, K};
    if (w.type == DType::bf16) return product<true>(pool, call, output, left, Operand<bf16>{w.as<bf16>(), K, N, K});
    if constexpr (std::is_same_v<X, float>)
      exact_product<true>(call, output, left, Operand<float>{w.as<float>(), K, N, K});
    else
      throw Error("UNSUPPORTED", "[linear_forward] expected f32 inputs with f32 weights, got bf16 inputs");
  });
}

void linear_backward_weight(ThreadPool& pool, float* dw, TensorView dy, int64_t lddy, TensorView x, int64_t ldx, int64_t M,
                            int64_t N, int64_t K) {
  const Call call{"linear_backward_weight", {{"M", M}, {"N", N}, {"K", K}}};
  const Output<float> output{dw, K, N, K, true};
  with_type(dy, [&]<class D>(const D* gradient) {
    const Operand<D> left{gradient, lddy, N, M};
    if (x.type == DType::bf16) return product<false>(pool, call, output, left, Operand<bf16>{x.as<bf16>(), ldx, K, M});
    if constexpr (std::is_same_v<D, float>)
      exact_product<false>(call, output, left, Operand<float>{x.as<float>(), ldx, K, M});
    else
      throw Error("UNSUPPORTED", "[linear_backward_weight] expected f32 gradients with f32 inputs, got bf16 gradients");
  });
}

}  // namespace zazen::cuda

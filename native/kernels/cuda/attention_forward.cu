// The forward of causal grouped-query attention in bf16, flash-style: a block of threads takes a tile of query rows of one KV
// head, keeps their outputs in registers and walks over the tiles of keys that they see, each copied while the one before it is
// worked on. attention.cuh says in which order a row is computed; tiles of rows have no part in it, so there are two shapes:
//   many: 128 rows, of which a warp has 32, so that a fragment of keys or values feeds two products. Limit: mma.sync's rate.
//   few (decoding): 16 rows and one warp. Limit: memory bandwidth, keys and values read once.
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/math.cuh"
#include "kernels/cuda/ops.h"

namespace zazen::cuda {
namespace {

// Down: fragments of 16 rows that a warp has.
template <int Dim, int Warps, int FragmentsDown>
struct Shape {
  static constexpr int P = Dim, kDown = FragmentsDown, kThreads = Warps * kWarp;
  static constexpr int kWarpRows = kDown * kStep, kRows = Warps * kWarpRows;
};
template <int P>
using Few = Shape<P, 1, 1>;
template <int P>
using Many = Shape<P, 4, P <= 128 ? 2 : 1>;  // outputs of 256 elements fill the registers

constexpr int kAcross = kTileKeys / kStep;  // fragments of 16 keys
constexpr double kLn2 = 0.69314718055994531;
constexpr float kNoReference = -3.4e38f;      // of a row that has seen no key: finite, so that differences are
constexpr float kHidden = -__builtin_inff();  // the score of a key that a row does not see

template <class S>
struct Shared {
  bf16 queries[S::kRows * S::P];  // at last the outputs
  bf16 keys[2][kTileKeys * S::P], values[2][kTileKeys * S::P];
};

// What a query row's sums are held against. Each of the four lanes that share a row has the sum of its own keys.
struct Row {
  float reference = kNoReference, sum = 0.0f;
};

// The rows of a warp; `rows` 0: it has none. `position` and `last` are those of its first and its last row.
struct WarpRows {
  int first, rows, position, last;

  __device__ WarpRows(const Unit& unit, int first_row, int most)
      : first(first_row), rows(unit.rows() - first_row), position(0), last(-1) {
    if (rows > most) rows = most;
    if (rows <= 0) return;
    position = unit.position(first);
    last = unit.position(first + rows - 1);
  }
  // Whether any row sees any of the keys first_key .. last_key, and whether all rows see all.
  __device__ __forceinline__ bool see_any(int first_key, int last_key, int window) const {
    return first_key <= last && (window == 0 || last_key > position - window);
  }
  __device__ __forceinline__ bool see_all(int first_key, int last_key, int window) const {
    return last_key <= position && (window == 0 || first_key > last - window);
  }
};

template <int Down>
__device__ __forceinline__ void hide_keys(float (&scores)[Down][2 * kAcross][4], const Unit& unit, int first_row,
                                          int first_key) {
#pragma unroll
  for (int i = 0; i < Down; ++i)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int end = unit.position(first_row + sum_row(i, 2 * half)) + 1 - first_key;
      const Columns seen(unit.work.window > 0 ? end - unit.work.window : 0, end);
#pragma unroll
      for (int j = 0; j < 2 * kAcross; ++j)
#pragma unroll
        for (int e = 2 * half; e < 2 * half + 2; ++e)
          if (!seen.have(j, e)) scores[i][j][e] = kHidden;
    }
}

// Turns a row's scores into weights against its new reference. Returns what its sums so far are worth against that.
__device__ __forceinline__ float weigh(float (&scores)[2 * kAcross][4], int half, Row& row, float base) {
  float top = kHidden;
#pragma unroll
  for (int j = 0; j < 2 * kAcross; ++j) top = larger(larger(scores[j][2 * half], scores[j][2 * half + 1]), top);
  top = larger(top, __shfl_xor_sync(kWholeWarp, top, 1));
  top = larger(top, __shfl_xor_sync(kWholeWarp, top, 2));
  const float reference = larger(top * base, row.reference), rescale = exp2_fast(row.reference - reference);
  float sum = 0.0f;
#pragma unroll
  for (int j = 0; j < 2 * kAcross; ++j)
#pragma unroll
    for (int e = 2 * half; e < 2 * half + 2; ++e) {
      scores[j][e] = exp2_fast(fmaf(scores[j][e], base, -reference));
      sum = sum + scores[j][e];
    }
  row.sum = fmaf(row.sum, rescale, sum);
  row.reference = reference;
  return rescale;
}

template <int Columns>
__device__ __forceinline__ void rescale_row(float (&sums)[Columns][4], int half, float rescale) {
#pragma unroll
  for (int j = 0; j < Columns; ++j)
#pragma unroll
    for (int e = 2 * half; e < 2 * half + 2; ++e) sums[j][e] = sums[j][e] * rescale;
}

// Outputs go through the tile of queries, of which a warp has read its own rows alone, so that they are stored by 16 bytes.
template <class S, bool Aligned>
__device__ __forceinline__ void store_rows(bf16* out, float* lse, bf16* tile, const float (&sums)[S::kDown][S::P / 8][4],
                                           const Row (&rows)[S::kDown][2], const Unit& unit, const WarpRows& warp) {
  using Layout = Tile<S::kRows, S::P, true>;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, line = static_cast<int>(threadIdx.x) / kWarp * S::kWarpRows;
#pragma unroll
  for (int i = 0; i < S::kDown; ++i)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const Row& row = rows[i][half];
      const float total = lanes_sum<4>(row.sum), inverse = 1.0f / total;
      const int r = sum_row(i, 2 * half);
      if (lse && lane % 4 == 0 && r < warp.rows)
        lse[unit.row(warp.first + r)] =
            static_cast<float>(static_cast<double>(row.reference) * kLn2 + log(static_cast<double>(total)));
#pragma unroll
      for (int j = 0; j < S::P / 8; ++j) {
        // + 0: a sum that was rescaled to -0 becomes the 0 of a row that took other tiles through.
        const float low = sums[i][j][2 * half] * inverse + 0.0f, high = sums[i][j][2 * half + 1] * inverse + 0.0f;
        *reinterpret_cast<uint32_t*>(tile + Layout::place(line + r, j) + lane % 4 * 2) = narrow_pair(low, high);
      }
    }
  __syncwarp();
  for (int at = lane; at < warp.rows * Layout::kChunks; at += kWarp) {
    const int r = at / Layout::kChunks, chunk = at % Layout::kChunks;
    store_eight<Aligned>(out + unit.query(warp.first + r) + chunk * kEight, load_whole(tile + Layout::place(line + r, chunk)),
                         unit.work.D - chunk * kEight);
  }
}

template <class S, bool Aligned>
__global__ void __launch_bounds__(S::kThreads)
    forward_kernel(bf16* out, float* lse, const bf16* q, const bf16* store, const __grid_constant__ Work work) {
  static_assert(kFits<S, Shared<S>>);
  Shared<S>& shared = shared_memory<Shared<S>>();
  const Unit unit(work, static_cast<int>(blockIdx.y));
  // The last rows of a span see the most keys, and start first.
  const int row = ((unit.rows() + S::kRows - 1) / S::kRows - 1 - unit.piece) * S::kRows;
  const int end = unit.position((row + S::kRows < unit.rows() ? row + S::kRows : unit.rows()) - 1) + 1;
  const int first_tile = unit.first_key(row) / kTileKeys;
  const auto block_of = [&](int tile) { return tile * kTileKeys < end ? unit.span.blocks[tile] : 0; };
  int32_t block = block_of(first_tile), next = block_of(first_tile + 1);
  const auto copy_keys = [&](int tile) {
    if (tile * kTileKeys < end)
      fill_block<S::kThreads, kTileKeys, S::P, Aligned>(shared.keys[tile % 2], unit.keys(store, block), work.D,
                                                        end - tile * kTileKeys);
    commit_copies();
  };
  const auto copy_values = [&](int tile) {
    if (tile * kTileKeys < end)
      fill_block<S::kThreads, kTileKeys, S::P, Aligned>(shared.values[tile % 2], unit.values(store, block), work.D,
                                                        end - tile * kTileKeys);
    commit_copies();
  };
  fill_queries<S::kThreads, S::kRows, S::P, Aligned>(shared.queries, q, unit, row);
  copy_keys(first_tile);
  copy_values(first_tile);

  const int line = static_cast<int>(threadIdx.x) / kWarp * S::kWarpRows;
  const WarpRows warp(unit, row + line, S::kWarpRows);
  Row rows[S::kDown][2];
  const float base = work.scale * kLog2E;
  float sums[S::kDown][S::P / 8][4] = {};
  for (int tile = first_tile; tile * kTileKeys < end; ++tile) {
    const int first_key = tile * kTileKeys, last_key = first_key + kTileKeys - 1;
    const bool seen = warp.see_any(first_key, last_key, work.window);
    float scores[S::kDown][2 * kAcross][4] = {};
    wait_for_copies<1>();
    __syncthreads();  // the keys are there for all, and those of the tile before are used up
    block = next;
    next = block_of(tile + 2);
    copy_keys(tile + 1);
    if (seen) {
      multiply_rows<S::P, S::kDown, kAcross>(scores, shared.queries, line, shared.keys[tile % 2], 0);
      if (!warp.see_all(first_key, last_key, work.window)) hide_keys(scores, unit, warp.first, first_key);
#pragma unroll
      for (int i = 0; i < S::kDown; ++i)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const float rescale = weigh(scores[i], half, rows[i][half], base);
          if (__ballot_sync(kWholeWarp, rescale != 1.0f)) rescale_row(sums[i], half, rescale);
        }
    }
    wait_for_copies<1>();
    __syncthreads();  // so are the values
    copy_values(tile + 1);
    if (seen) multiply_weights<S::P, S::kDown, kAcross, S::P / 8>(sums, scores, shared.values[tile % 2], 0, 0);
  }
  store_rows<S, Aligned>(out, lse, shared.queries, sums, rows, unit, warp);
}

template <class S, bool Aligned>
void forward_spans(bf16* out, float* lse, const bf16* q, const bf16* store, const AttentionArgs& args, bool few) {
  const int64_t group = args.heads / args.kv.kv_heads;
  const auto pieces = [&](const Span& span) {
    const int64_t rows = span.count * group;
    return (rows <= Few<S::P>::kRows) == few ? ceil_div(rows, S::kRows) : 0;
  };
  for_work(args, pieces, [&](const Work& work, int64_t blocks) {
    launch(attention_call("attention_forward", args), forward_kernel<S, Aligned>,
           {.x = blocks, .y = work.kv_heads, .threads = S::kThreads, .shared_bytes = sizeof(Shared<S>)}, out, lse, q, store,
           work);
  });
}

}  // namespace

void attention_forward(ThreadPool&, TensorRef out, float* lse, TensorView q, TensorView blocks, const AttentionArgs& args) {
  if (q.type == DType::f32) return exact_attention_forward(out.as<float>(), lse, q.as<float>(), blocks.as<float>(), args);
  const bool rows_aligned = aligned_rows(args.kv.head_dim, out.as<bf16>(), q.as<bf16>(), blocks.as<bf16>());
  with_flag(rows_aligned, [&]<bool aligned>(Flag<aligned>) {
    with_padded_dim(args.kv.head_dim, [&]<int P>(std::integral_constant<int, P>) {
      forward_spans<Many<P>, aligned>(out.as<bf16>(), lse, q.as<bf16>(), blocks.as<bf16>(), args, false);
      forward_spans<Few<P>, aligned>(out.as<bf16>(), lse, q.as<bf16>(), blocks.as<bf16>(), args, true);
    });
  });
}

}  // namespace zazen::cuda

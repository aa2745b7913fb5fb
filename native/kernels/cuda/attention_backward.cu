// The backward of attention in bf16. With s the scores, p the weights, and lse of the forward:
//   p = exp(s - lse), dV = p^T dout, ds = p (dout v^T - delta), dQ = ds K, dK = ds^T Q, delta = dout . out
// dQ and dK take the scale of the scores at the end. dout is rounded to bf16 first, p and ds as they become operands.
//
// Nothing is shared between blocks, so the same call gives the same bits: one kernel takes a tile of keys through the query
// rows that see it, all heads of the group in the order of rows, and has dK and dV; another takes a tile of query rows through
// the keys that they see, and has dQ. So scores are computed twice, 7 products instead of 5. In both a warp owns 16 rows of the
// left operand, and its weights are operands of the next product as they lie in registers. Limit: mma.sync's rate, and shared
// memory's.
#include "kernels/cuda/attention_gradient.cuh"
#include "kernels/cuda/math.cuh"
#include "kernels/cuda/ops.h"

namespace zazen::cuda {
namespace {

// A row is worked on by P / 8 lanes.
template <int P, bool Aligned>
__global__ void __launch_bounds__(kBlockThreads)
    terms_kernel(const Terms terms, const float* dout, const bf16* out, const float* lse, const __grid_constant__ Work work) {
  constexpr int kLanes = P / kEight;
  const Unit unit(work, static_cast<int>(blockIdx.y));
  const int lane = static_cast<int>(threadIdx.x) % kLanes, D = work.D;
  for (int i = static_cast<int>(threadIdx.x) / kLanes; i < kRows; i += kBlockThreads / kLanes) {
    const int r = unit.piece * kRows + i;
    const bool inside = r < unit.rows();
    const int left = inside ? D - lane * kEight : 0;
    const int64_t at = inside ? unit.query(r) + lane * kEight : 0;
    const Eight gradient = load_eight<Aligned>(dout + at, left), output = load_eight<Aligned>(out + at, left);
    const Eight rounded = each([&](int j) { return widen(narrow(gradient.v[j])); });
    float delta = 0.0f;
#pragma unroll
    for (int j = 0; j < kEight; ++j) delta = fmaf(rounded.v[j], output.v[j], delta);
    delta = lanes_sum<kLanes>(delta);
    if (!inside) continue;
    store_eight<Aligned>(terms.dout + at, rounded, left);
    if (lane != 0) continue;
    terms.lse[Terms::first(unit) + r] = lse[unit.row(r)] * kLog2E;
    terms.delta[Terms::first(unit) + r] = delta;
  }
}

// ---- dK and dV: a tile of 64 keys through query rows

template <class S>
struct KeysShared {
  bf16 keys[kRows * S::P], values[kRows * S::P];
  bf16 queries[2][S::kStream * S::P], dout[2][S::kStream * S::P];
  float lse[2][S::kStream], delta[2][S::kStream];
};

template <class S, bool Aligned>
__global__ void __launch_bounds__(kBlockThreads)
    keys_kernel(float* dk, float* dv, const bf16* q, const Terms terms, const bf16* store, const __grid_constant__ Work work) {
  static_assert(kRows == kTileKeys && kFits<S, KeysShared<S>>);
  KeysShared<S>& shared = shared_memory<KeysShared<S>>();
  const Unit unit(work, static_cast<int>(blockIdx.y) / S::kColumnPieces);
  const int column = static_cast<int>(blockIdx.y) % S::kColumnPieces * S::kColumns;
  const int first_key = unit.piece * kTileKeys, count = unit.span.count, group = work.group;
  // Rows before the tile see none of its keys, and rows a window past it none any more.
  const int first = first_key * group, past = (first_key + kTileKeys - 1 + work.window) * group;
  const int end = work.window > 0 && past < unit.rows() ? past : unit.rows();
  const auto copy_queries = [&](int row) {
    if (row < end) {
      const int slot = (row - first) / S::kStream % 2;
      fill_queries<kBlockThreads, S::kStream, S::P, Aligned>(shared.queries[slot], q, unit, row);
      fill_queries<kBlockThreads, S::kStream, S::P, Aligned>(shared.dout[slot], terms.dout, unit, row);
      const int i = static_cast<int>(threadIdx.x) % S::kStream;
      const bool inside = row + i < unit.rows();
      const int64_t at = inside ? Terms::first(unit) + row + i : 0;
      if (static_cast<int>(threadIdx.x) < S::kStream) {
        copy_async(shared.lse[slot] + i, terms.lse + at, inside);
        copy_async(shared.delta[slot] + i, terms.delta + at, inside);
      }
    }
    commit_copies();
  };
  const int32_t block = unit.span.blocks[unit.piece];
  fill_block<kBlockThreads, kTileKeys, S::P, Aligned>(shared.keys, unit.keys(store, block), work.D, count - first_key);
  fill_block<kBlockThreads, kTileKeys, S::P, Aligned>(shared.values, unit.values(store, block), work.D, count - first_key);
  copy_queries(first);

  const int line = static_cast<int>(threadIdx.x) / kWarp * kWarpRows, warp_key = first_key + line;
  const float base = work.scale * kLog2E;
  float dkeys[1][S::kColumns / 8][4] = {}, dvalues[1][S::kColumns / 8][4] = {};
  for (int row = first; row < end; row += S::kStream) {
    const int slot = (row - first) / S::kStream % 2;
    wait_for_copies<0>();
    __syncthreads();  // the rows are there for all, and those before them are used up
    copy_queries(row + S::kStream);
#pragma unroll 1
    for (int part = 0; part < S::kStream; part += kPart) {
      // Row r sees a key when key * group <= r < (key + window) * group.
      const int r = row + part, gone = (warp_key + work.window) * group;
      if (r + kPart <= warp_key * group || (work.window > 0 && r >= gone + (kWarpRows - 1) * group)) continue;
      float weights[1][2 * kAcross][4] = {}, dscores[1][2 * kAcross][4] = {};
      multiply_rows<S::P, 1, kAcross>(weights, shared.keys, line, shared.queries[slot], part);
      multiply_rows<S::P, 1, kAcross>(dscores, shared.values, line, shared.dout[slot], part);
      score_gradient(weights, dscores, base, [&](int j, int e) {
        const int at = part + sum_column(j, e);
        return RowTerms{shared.lse[slot][at], shared.delta[slot][at]};
      });
      if (r < (warp_key + kWarpRows - 1) * group || (work.window > 0 && r + kPart > gone)) {
        const auto rows_of = [&](int e) {
          const int from = (warp_key + sum_row(0, e)) * group - r;
          return Columns(from, work.window > 0 ? from + work.window * group : kPart);
        };
        hide(weights, dscores, {rows_of(0), rows_of(2)});
      }
      multiply_weights<S::P, 1, kAcross, S::kColumns / 8>(dvalues, weights, shared.dout[slot], part, column);
      multiply_weights<S::P, 1, kAcross, S::kColumns / 8>(dkeys, dscores, shared.queries[slot], part, column);
    }
  }
  const auto row_in = [&](float* gradient) {
    return [&, gradient](int r) { return warp_key + r < count ? gradient + unit.key(warp_key + r) + column : nullptr; };
  };
  store_sums<Aligned>(dkeys, work.scale, work.D - column, row_in(dk));
  store_sums<Aligned>(dvalues, 1.0f, work.D - column, row_in(dv));
}

// ---- dQ: a tile of 64 query rows through keys

template <class S>
struct QueriesShared {
  bf16 queries[kRows * S::P], dout[kRows * S::P];
  bf16 keys[2][S::kStream * S::P], values[2][S::kStream * S::P];
};

template <class S, bool Aligned>
__global__ void __launch_bounds__(kBlockThreads)
    queries_kernel(float* dq, const bf16* q, const Terms terms, const bf16* store, const __grid_constant__ Work work) {
  static_assert(kFits<S, QueriesShared<S>>);
  QueriesShared<S>& shared = shared_memory<QueriesShared<S>>();
  const Unit unit(work, static_cast<int>(blockIdx.y));
  // The last rows of a span see the most keys, and start first.
  const int row = ((unit.rows() + kRows - 1) / kRows - 1 - unit.piece) * kRows;
  const int end = unit.position((row + kRows < unit.rows() ? row + kRows : unit.rows()) - 1) + 1;
  const int first = unit.first_key(row) / S::kStream * S::kStream;
  const auto block_of = [&](int key) { return key < end ? unit.span.blocks[key / kTileKeys] : 0; };
  int32_t block = block_of(first), next = block_of(first + S::kStream);
  const auto copy_keys = [&](int key) {
    if (key < end) {
      const int slot = key / S::kStream % 2, from = key % kTileKeys * work.D;
      fill_block<kBlockThreads, S::kStream, S::P, Aligned>(shared.keys[slot], unit.keys(store, block) + from, work.D,
                                                           end - key);
      fill_block<kBlockThreads, S::kStream, S::P, Aligned>(shared.values[slot], unit.values(store, block) + from, work.D,
                                                           end - key);
    }
    commit_copies();
  };
  fill_queries<kBlockThreads, kRows, S::P, Aligned>(shared.queries, q, unit, row);
  fill_queries<kBlockThreads, kRows, S::P, Aligned>(shared.dout, terms.dout, unit, row);
  copy_keys(first);

  const int line = static_cast<int>(threadIdx.x) / kWarp * kWarpRows, warp_row = row + line;
  const int warp_last = (warp_row + kWarpRows < unit.rows() ? warp_row + kWarpRows : unit.rows()) - 1;
  RowTerms row_terms[2];
  int position[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int r = warp_row + sum_row(0, 2 * half);
    const int64_t at = Terms::first(unit) + r;
    row_terms[half] = r < unit.rows() ? RowTerms{terms.lse[at], terms.delta[at]} : RowTerms{0.0f, 0.0f};
    position[half] = unit.position(r);
  }
  const float base = work.scale * kLog2E;
  float dqueries[1][S::P / 8][4] = {};
  for (int tile = first; tile < end; tile += S::kStream) {
    const int slot = tile / S::kStream % 2;
    wait_for_copies<0>();
    __syncthreads();  // the keys are there for all, and those before them are used up
    block = next;
    next = block_of(tile + 2 * S::kStream);
    copy_keys(tile + S::kStream);
#pragma unroll 1
    for (int part = 0; part < S::kStream; part += kPart) {
      const int key = tile + part;
      if (warp_row > warp_last || key > unit.position(warp_last) || key + kPart <= unit.first_key(warp_row)) continue;
      float weights[1][2 * kAcross][4] = {}, dscores[1][2 * kAcross][4] = {};
      multiply_rows<S::P, 1, kAcross>(weights, shared.queries, line, shared.keys[slot], part);
      multiply_rows<S::P, 1, kAcross>(dscores, shared.dout, line, shared.values[slot], part);
      score_gradient(weights, dscores, base, [&](int, int e) { return row_terms[e / 2]; });
      if (key + kPart > unit.position(warp_row) || key < unit.first_key(warp_last)) {
        const auto keys_of = [&](int half) {
          const int last = position[half] - key;
          return Columns(work.window > 0 ? last + 1 - work.window : 0, last + 1);
        };
        hide(weights, dscores, {keys_of(0), keys_of(1)});
      }
      multiply_weights<S::P, 1, kAcross, S::P / 8>(dqueries, dscores, shared.keys[slot], part, 0);
    }
  }
  store_sums<Aligned>(dqueries, work.scale, work.D,
                      [&](int r) { return warp_row + r < unit.rows() ? dq + unit.query(warp_row + r) : nullptr; });
}

struct Gradients {
  float *dq, *dk, *dv;
};
struct Inputs {
  const float *dout, *lse;
  const bf16 *out, *q, *store;
};

template <int P, bool Aligned>
void backward(const Gradients& to, const Inputs& in, const AttentionArgs& args) {
  using S = GradientShape<P>;
  const Call call = attention_call("attention_backward", args);
  const int64_t group = args.heads / args.kv.kv_heads;
  const auto row_tiles = [&](const Span& span) { return ceil_div(span.count * group, kRows); };
  const auto key_tiles = [](const Span& span) { return ceil_div(span.count, kKeyTile); };
  for_work(args, row_tiles, [&](const Work& work, int64_t blocks) {
    launch(call, terms_kernel<P, Aligned>, {.x = blocks, .y = work.kv_heads, .threads = kBlockThreads}, Terms(work), in.dout,
           in.out, in.lse, work);
  });
  for_work(args, key_tiles, [&](const Work& work, int64_t blocks) {
    launch(
        call, keys_kernel<S, Aligned>,
        {.x = blocks, .y = work.kv_heads * S::kColumnPieces, .threads = kBlockThreads, .shared_bytes = sizeof(KeysShared<S>)},
        to.dk, to.dv, in.q, Terms(work), in.store, work);
  });
  for_work(args, row_tiles, [&](const Work& work, int64_t blocks) {
    launch(call, queries_kernel<S, Aligned>,
           {.x = blocks, .y = work.kv_heads, .threads = kBlockThreads, .shared_bytes = sizeof(QueriesShared<S>)}, to.dq, in.q,
           Terms(work), in.store, work);
  });
}

}  // namespace

void attention_backward(ThreadPool&, float* dq, float* dk, float* dv, const float* dout, TensorView out, const float* lse,
                        TensorView q, TensorView blocks, const AttentionArgs& args) {
  if (q.type == DType::f32)
    return exact_attention_backward(dq, dk, dv, dout, out.as<float>(), lse, q.as<float>(), blocks.as<float>(), args);
  const Inputs in{dout, lse, out.as<bf16>(), q.as<bf16>(), blocks.as<bf16>()};
  with_flag(aligned_rows(args.kv.head_dim, dq, dk, dv, dout, in.out, in.q, in.store), [&]<bool aligned>(Flag<aligned>) {
    with_padded_dim(args.kv.head_dim, [&]<int P>(std::integral_constant<int, P>) {
      backward<P, aligned>({dq, dk, dv}, in, args);
    });
  });
}

}  // namespace zazen::cuda

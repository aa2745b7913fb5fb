// Writes keys and values of spans into their KV blocks, as they are: rows [64][D] of keys, then of values, for each KV head
// (KvLayout::rows). A block of threads takes 16 positions of one head. Limit: memory bandwidth.
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/ops.h"

namespace zazen::cuda {
namespace {

constexpr int kPositions = 16;

template <bool Aligned, class E>
__global__ void __launch_bounds__(kThreads) write_kernel(E* store, const E* k, const E* v, const __grid_constant__ Work work) {
  const Unit unit(work, static_cast<int>(blockIdx.y));
  const int chunks = (work.D + kEight - 1) / kEight, first = unit.piece * kPositions;
  for (int at = static_cast<int>(threadIdx.x); at < kPositions * chunks; at += kThreads) {
    const int i = first + at / chunks, d = at % chunks * kEight;
    if (i >= unit.span.count) continue;
    const int position = unit.span.position + i;
    const int32_t block = unit.span.blocks[position / kTileKeys];
    const int64_t from = unit.key(i) + d, to = position % kTileKeys * work.D + d;
    store_eight<Aligned>(unit.keys(store, block) + to, load_eight<Aligned>(k + from, work.D - d), work.D - d);
    store_eight<Aligned>(unit.values(store, block) + to, load_eight<Aligned>(v + from, work.D - d), work.D - d);
  }
}

}  // namespace

void kv_write(ThreadPool&, TensorRef blocks, TensorView k, TensorView v, const AttentionArgs& args) {
  const auto pieces = [](const Span& span) { return ceil_div(span.count, kPositions); };
  for_work(args, pieces, [&](const Work& work, int64_t count) {
    with_type(blocks, [&]<class E>(E* store) {
      with_flag(aligned_rows(work.D, store, k.as<E>(), v.as<E>()), [&]<bool aligned>(Flag<aligned>) {
        launch(attention_call("kv_write", args), write_kernel<aligned, E>,
               {.x = count, .y = work.kv_heads, .threads = kThreads}, store, k.as<E>(), v.as<E>(), work);
      });
    });
  });
}

}  // namespace zazen::cuda

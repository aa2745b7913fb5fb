// The kernels of faults.h. Those with `with_...` are right when it is true.
#include "emulation/faults.h"
#include "kernels/cuda/launch.cuh"

namespace zazen::faults {
namespace {

using namespace cuda;

struct Shared {
  float row[kThreads];
};
const Grid kOneBlock{.x = 1, .threads = kThreads, .shared_bytes = sizeof(Shared)};

__global__ void reverse_kernel(float* out, const float* x, bool with_barrier) {
  Shared& shared = shared_memory<Shared>();
  const int t = static_cast<int>(threadIdx.x);
  shared.row[t] = x[t];
  if (with_barrier) __syncthreads();
  out[t] = shared.row[kThreads - 1 - t];
}

__global__ void reverse_twice_kernel(float* out, const float* x, bool with_barrier) {
  Shared& shared = shared_memory<Shared>();
  const int t = static_cast<int>(threadIdx.x);
  shared.row[t] = x[t];
  __syncthreads();
  const float other = shared.row[kThreads - 1 - t];
  if (with_barrier) __syncthreads();
  shared.row[t] = other;
  __syncthreads();
  out[t] = shared.row[kThreads - 1 - t];
}

__global__ void through_device_kernel(float* out, const float* x, bool with_barrier) {
  const int t = static_cast<int>(threadIdx.x);
  const float before = out[kThreads - 1 - t];
  if (with_barrier) __syncthreads();
  out[t] = before + x[t];
}

__global__ void warp_sums_kernel(float* out, const float* x) {
  float sum = x[threadIdx.x];
  for (int away = 1; away < kWarp; away *= 2) sum += __shfl_xor_sync(kWholeWarp, sum, away);
  out[threadIdx.x] = sum;
}

__global__ void warp_tree_kernel(float* out, const float* x, bool with_sync) {
  Shared& shared = shared_memory<Shared>();
  const int t = static_cast<int>(threadIdx.x), lane = t % kWarp;
  shared.row[t] = x[t];
  for (int half = kWarp / 2; half > 0; half /= 2) {
    if (with_sync || half == kWarp / 2) __syncwarp();
    if (lane < half) shared.row[t] += shared.row[t + half];
  }
  if (with_sync) __syncwarp();
  out[t] = shared.row[t - lane];
}

__global__ void divergent_barrier_kernel(float* out, bool two_barriers) {
  if (threadIdx.x < kThreads / 2) {
    __syncthreads();
  } else if (two_barriers) {
    __syncthreads();
  }
  out[threadIdx.x] = 1.0f;
}

__global__ void early_exit_kernel(float* out) {
  if (threadIdx.x == 7) return;
  __syncthreads();
  out[threadIdx.x] = 1.0f;
}

__global__ void shuffle_kernel(float* out, ShuffleFault fault) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  float value = static_cast<float>(lane);
  if (fault == ShuffleFault::beyond_segment) value = __shfl_sync(kWholeWarp, value, lane == 0 ? 8 : 0, 8);
  if (fault == ShuffleFault::outside_mask && lane < 16) value = __shfl_sync(0xFFFF, value, 20);
  if (fault == ShuffleFault::not_in_mask && (lane < 16 || lane == 20)) value = __shfl_sync(0xFFFF, value, 0);
  if (fault == ShuffleFault::missing_lane && lane != 5) value = __shfl_sync(kWholeWarp, value, 0);
  out[threadIdx.x] = value;
}

__global__ void vector_load_kernel(float* out, const float* x, int offset) {
  const uint4 four = load_16(x + 4 * threadIdx.x + offset);
  out[threadIdx.x] = __uint_as_float(four.x) + __uint_as_float(four.w);
}

__global__ void copy_kernel(float* out, const float* x, int offset) {
  out[threadIdx.x] = get(x + static_cast<int>(threadIdx.x) + offset);
}

__global__ void unwritten_shared_kernel(float* out) {
  Shared& shared = shared_memory<Shared>();
  if (threadIdx.x != 9) shared.row[threadIdx.x] = 1.0f;
  __syncthreads();
  out[threadIdx.x] = shared.row[kThreads - 1 - threadIdx.x];
}

__global__ void two_blocks_kernel(float* out) { out[threadIdx.x] = static_cast<float>(blockIdx.x); }

struct TooMuch {
  float row[kThreads + 1];
};
__global__ void too_much_shared_kernel(float* out) { out[threadIdx.x] = shared_memory<TooMuch>().row[0]; }

struct AsyncShared {
  bf16 tile[512];
};
__global__ void async_copy_kernel(bf16* out, const bf16* x, AsyncFault fault) {
  AsyncShared& shared = shared_memory<AsyncShared>();
  const int lane = static_cast<int>(threadIdx.x), other = (lane + 1) % kWarp;
  for (int half = 0; half < 2; ++half) {
    copy_async(shared.tile + half * 256 + lane * 8, x + half * 256 + lane * 8);
    commit_copies();
  }
  if (fault == AsyncFault::none || fault == AsyncFault::no_barrier) wait_for_copies<0>();
  if (fault == AsyncFault::early_wait) wait_for_copies<1>();
  if (fault != AsyncFault::no_barrier) __syncwarp();
  if (fault == AsyncFault::left_over) return;
  for (int half = 0; half < 2; ++half) {
    const int at = half * 256 + other * 8;
    store_16(out + at, load_16(shared.tile + at));
  }
}

struct ProductShared {
  bf16 a[16 * 16], b[16 * 8];
};
__global__ void product_kernel(float* d, const bf16* a, const bf16* b, bool b_by_rows) {
  ProductShared& shared = shared_memory<ProductShared>();
  const int lane = static_cast<int>(threadIdx.x), group = lane / 4, pair = lane % 4 * 2;
  copy_async(shared.a + lane * 8, a + lane * 8);
  if (lane < 16) copy_async(shared.b + lane * 8, b + lane * 8);
  commit_copies();
  wait_for_copies<0>();
  __syncwarp();
  uint32_t left[4], right[4];
  load_matrices(left, shared.a + lane % 16 * 16 + lane / 16 * 8);
  if (b_by_rows)
    load_matrices<true>(right, shared.b + lane % 16 * 8);
  else
    load_matrices(right, shared.b + lane % 8 * 16 + lane / 8 % 2 * 8);
  float sum[4] = {};
  multiply_add(sum, left, right[0], right[1]);
  for (int i = 0; i < 4; ++i) d[(group + i / 2 * 8) * 8 + pair + i % 2] = sum[i];
}

}  // namespace

void reverse(float* out, const float* x, bool with_barrier) {
  launch({"reverse"}, reverse_kernel, kOneBlock, out, x, with_barrier);
}
void reverse_twice(float* out, const float* x, bool with_barrier) {
  launch({"reverse_twice"}, reverse_twice_kernel, kOneBlock, out, x, with_barrier);
}
void through_device(float* out, const float* x, bool with_barrier) {
  launch({"through_device"}, through_device_kernel, kOneBlock, out, x, with_barrier);
}
void warp_sums(float* out, const float* x) { launch({"warp_sums"}, warp_sums_kernel, kOneBlock, out, x); }
void warp_tree(float* out, const float* x, bool with_sync) {
  launch({"warp_tree"}, warp_tree_kernel, kOneBlock, out, x, with_sync);
}
void divergent_barrier(float* out, bool two_barriers) {
  launch({"divergent_barrier"}, divergent_barrier_kernel, kOneBlock, out, two_barriers);
}
void early_exit(float* out) { launch({"early_exit"}, early_exit_kernel, kOneBlock, out); }
void shuffle(float* out, ShuffleFault fault) { launch({"shuffle"}, shuffle_kernel, kOneBlock, out, fault); }
void vector_load(float* out, const float* x, int offset) {
  launch({"vector_load"}, vector_load_kernel, kOneBlock, out, x, offset);
}
void copy(float* out, const float* x, int offset) {
  launch({"copy", {{"offset", offset}}}, copy_kernel, kOneBlock, out, x, offset);
}
void unwritten_shared(float* out) { launch({"unwritten_shared"}, unwritten_shared_kernel, kOneBlock, out); }
void two_blocks(float* out) { launch({"two_blocks"}, two_blocks_kernel, {.x = 2, .threads = kThreads}, out); }
void too_much_shared(float* out) { launch({"too_much_shared"}, too_much_shared_kernel, kOneBlock, out); }
void async_copy(bf16* out, const bf16* x, AsyncFault fault) {
  launch({"async_copy"}, async_copy_kernel, {.x = 1, .threads = kWarp, .shared_bytes = sizeof(AsyncShared)}, out, x, fault);
}
void product(float* d, const bf16* a, const bf16* b, bool b_by_rows) {
  launch({"product"}, product_kernel, {.x = 1, .threads = kWarp, .shared_bytes = sizeof(ProductShared)}, d, a, b, b_by_rows);
}

}  // namespace zazen::faults

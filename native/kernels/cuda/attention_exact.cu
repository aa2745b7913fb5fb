// Attention in f32. Like the f32 matmul it is there to be exact, not fast: every number is the chain or the tree of the CPU's
// kernels (kernels/cpu/attention.h says which), so these are its bits. A block of 64 threads takes one query row or one key:
// each thread has one score of 64, then some elements of what the scores are weights of.
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/math.cuh"

namespace zazen::cuda {
namespace {

constexpr int kColumns = kMaxHeadDim / kTileKeys;  // elements of a row that a thread has
constexpr int kLanes = 16;                         // chains that a sum is made of
constexpr float kHidden = -__builtin_inff(), kNoReference = -3.4e38f;
constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: x + kRound holds x, rounded to an integer, in its lowest bits

__device__ __forceinline__ float add_exponent(float p, float shifted) {
  return __uint_as_float(__float_as_uint(p) + (__float_as_uint(shifted) << 23));
}

// exp2 and log_shifted of kernels/cpu/simd.h.
__device__ __forceinline__ float exp2_exact(float x) {
  const float bounded = larger(-100.0f, x), shifted = bounded + kRound, r = bounded - (shifted - kRound);
  float p = 1.326472731e-3f;
  p = fmaf(p, r, 9.671512991e-3f);
  p = fmaf(p, r, 5.550733581e-2f);
  p = fmaf(p, r, 2.402224243e-1f);
  p = fmaf(p, r, 6.931470037e-1f);
  return add_exponent(fmaf(p, r, 1.0f), shifted);
}
__device__ __forceinline__ float log_shifted(float x, float shift) {
  constexpr unsigned kHalfRootBits = 0x3F3504F3;  // of sqrt(1/2)
  constexpr float kLn2 = 0.693147182f;
  const float n = static_cast<float>(static_cast<int>(__float_as_uint(x) - kHalfRootBits) >> 23);
  const float f = add_exponent(x, kRound - n) - 1.0f;
  float p = 7.0376836292e-2f;
  p = fmaf(p, f, -1.1514610310e-1f);
  p = fmaf(p, f, 1.1676998740e-1f);
  p = fmaf(p, f, -1.2420140846e-1f);
  p = fmaf(p, f, 1.4249322787e-1f);
  p = fmaf(p, f, -1.6668057665e-1f);
  p = fmaf(p, f, 2.0000714765e-1f);
  p = fmaf(p, f, -2.4999993993e-1f);
  p = fmaf(p, f, 3.3333331174e-1f);
  p = fmaf(fmaf(p, f, -0.5f), f * f, f);
  return fmaf(shift, kLn2, fmaf(n, kLn2, p));
}

// Lane i is joined with lane i + 8, then + 4, + 2, + 1.
__device__ __forceinline__ float tree(float (&lanes)[kLanes]) {
#pragma unroll
  for (int half = kLanes / 2; half > 0; half /= 2)
#pragma unroll
    for (int i = 0; i < half; ++i) lanes[i] = lanes[i] + lanes[i + half];
  return lanes[0];
}

__device__ __forceinline__ float chain(const float* a, const float* b, int n) {
  float sum = 0.0f;
  for (int i = 0; i < n; ++i) sum = fmaf(a[i], b[i], sum);
  return sum;
}
__device__ __forceinline__ float dot(const float* a, const float* b, int n) {
  float lanes[kLanes] = {};
  for (int first = 0; first < n; first += kLanes)
#pragma unroll
    for (int i = 0; i < kLanes; ++i)
      if (first + i < n) lanes[i] = fmaf(a[first + i], b[first + i], lanes[i]);
  return tree(lanes);
}

struct Shared {
  float left[kMaxHeadDim], right[kMaxHeadDim];   // the block's own rows
  float weights[kTileKeys], dscores[kTileKeys];  // of 64 keys or query rows
  float lanes[kLanes];
};

__device__ __forceinline__ int own() { return static_cast<int>(threadIdx.x); }
__device__ __forceinline__ void copy_row(float* to, const float* from, int D) {
  for (int d = own(); d < D; d += kTileKeys) to[d] = from[d];
}
// Calls body(c, d) for the thread's elements of a row.
template <class Body>
__device__ __forceinline__ void for_columns(int D, const Body& body) {
#pragma unroll
  for (int c = 0; c < kColumns; ++c)
    if (own() + c * kTileKeys < D) body(c, own() + c * kTileKeys);
}

// The keys of a tile that a row sees, from the tile's first on.
struct Seen {
  int from, to;
  __device__ Seen(const Unit& unit, int r, int tile)
      : from(unit.first_key(r) - tile * kTileKeys), to(unit.position(r) + 1 - tile * kTileKeys) {
    from = from > 0 ? from : 0;
    to = to < kTileKeys ? to : kTileKeys;
  }
  __device__ __forceinline__ bool own_key() const { return own() >= from && own() < to; }
};

__global__ void __launch_bounds__(kTileKeys)
    forward_kernel(float* out, float* lse, const float* q, const float* store, const __grid_constant__ Work work) {
  Shared& shared = shared_memory<Shared>();
  const Unit unit(work, static_cast<int>(blockIdx.y));
  const int r = unit.piece, D = work.D;
  const float base = work.scale * kLog2E;
  copy_row(shared.left, q + unit.query(r), D);
  if (own() < kLanes) shared.lanes[own()] = 0.0f;
  __syncthreads();
  float reference = kNoReference, sums[kColumns] = {};
  for (int tile = unit.first_key(r) / kTileKeys; tile <= unit.position(r) / kTileKeys; ++tile) {
    const Seen seen(unit, r, tile);
    const int32_t block = unit.span.blocks[tile];
    const float *keys = unit.keys(store, block), *values = unit.values(store, block);
    const float score = seen.own_key() ? chain(shared.left, keys + own() * D, D) : kHidden;
    shared.weights[own()] = score;
    __syncthreads();
    float top = kHidden;
    for (int key = seen.from; key < seen.to; ++key) top = larger(top, shared.weights[key]);
    __syncthreads();
    const float next = larger(reference, top * base), rescale = exp2_exact(reference - next);
    reference = next;
    shared.weights[own()] = seen.own_key() ? exp2_exact(fmaf(score, base, -reference)) : 0.0f;
    __syncthreads();
    if (own() < kLanes)
      for (int key = own(); key < kTileKeys; key += kLanes)
        shared.lanes[own()] = fmaf(shared.lanes[own()], key < kLanes ? rescale : 1.0f, shared.weights[key]);
    for_columns(D, [&](int c, int d) {
      sums[c] = sums[c] * rescale;
      for (int key = seen.from; key < seen.to; ++key) sums[c] = fmaf(shared.weights[key], values[key * D + d], sums[c]);
    });
    __syncthreads();
  }
  float lanes[kLanes];
  for (int i = 0; i < kLanes; ++i) lanes[i] = shared.lanes[i];
  const float total = tree(lanes), inverse = 1.0f / total;
  for_columns(D, [&](int c, int d) { out[unit.query(r) + d] = sums[c] * inverse; });
  if (lse && own() == 0) lse[unit.row(r)] = log_shifted(total, reference);
}

struct Inputs {
  const float *dout, *out, *lse, *q, *store;
};

// p and ds of one query row and one key, from their score and the gradient of its weight.
__device__ __forceinline__ void set_gradient(Shared& shared, float score, float dweight, float base, float lse, float delta) {
  const float p = exp2_exact(fmaf(score, base, -(lse * kLog2E)));
  shared.weights[own()] = p;
  shared.dscores[own()] = p * (dweight - delta);
}

__global__ void __launch_bounds__(kTileKeys) queries_kernel(float* dq, const Inputs in, const __grid_constant__ Work work) {
  Shared& shared = shared_memory<Shared>();
  const Unit unit(work, static_cast<int>(blockIdx.y));
  const int r = unit.piece, D = work.D;
  const float base = work.scale * kLog2E;
  copy_row(shared.left, in.q + unit.query(r), D);
  copy_row(shared.right, in.dout + unit.query(r), D);
  __syncthreads();
  const float delta = dot(shared.right, in.out + unit.query(r), D), lse = in.lse[unit.row(r)];
  float sums[kColumns] = {};
  for (int tile = unit.first_key(r) / kTileKeys; tile <= unit.position(r) / kTileKeys; ++tile) {
    const Seen seen(unit, r, tile);
    const int32_t block = unit.span.blocks[tile];
    const float *keys = unit.keys(in.store, block), *values = unit.values(in.store, block);
    if (seen.own_key())
      set_gradient(shared, chain(shared.left, keys + own() * D, D), chain(shared.right, values + own() * D, D), base, lse,
                   delta);
    __syncthreads();
    for_columns(D, [&](int c, int d) {
      for (int key = seen.from; key < seen.to; ++key) sums[c] = fmaf(shared.dscores[key], keys[key * D + d], sums[c]);
    });
    __syncthreads();
  }
  for_columns(D, [&](int c, int d) { dq[unit.query(r) + d] = sums[c] * work.scale; });
}

__global__ void __launch_bounds__(kTileKeys)
    keys_kernel(float* dk, float* dv, const Inputs in, const __grid_constant__ Work work) {
  Shared& shared = shared_memory<Shared>();
  const Unit unit(work, static_cast<int>(blockIdx.y));
  const int key = unit.piece, D = work.D, group = work.group;
  const float base = work.scale * kLog2E;
  const int32_t block = unit.span.blocks[key / kTileKeys];
  copy_row(shared.left, unit.keys(in.store, block) + key % kTileKeys * D, D);
  copy_row(shared.right, unit.values(in.store, block) + key % kTileKeys * D, D);
  __syncthreads();
  const int past = (key + work.window) * group, end = work.window > 0 && past < unit.rows() ? past : unit.rows();
  float dkeys[kColumns] = {}, dvalues[kColumns] = {};
  for (int first = key * group; first < end; first += kTileKeys) {
    const int r = first + own(), rows = end - first < kTileKeys ? end - first : kTileKeys;
    if (own() < rows) {
      const int64_t at = unit.query(r);
      set_gradient(shared, chain(in.q + at, shared.left, D), chain(in.dout + at, shared.right, D), base, in.lse[unit.row(r)],
                   dot(in.dout + at, in.out + at, D));
    }
    __syncthreads();
    for_columns(D, [&](int c, int d) {
      for (int i = 0; i < rows; ++i) {
        const int64_t at = unit.query(first + i) + d;
        dkeys[c] = fmaf(shared.dscores[i], in.q[at], dkeys[c]);
        dvalues[c] = fmaf(shared.weights[i], in.dout[at], dvalues[c]);
      }
    });
    __syncthreads();
  }
  for_columns(D, [&](int c, int d) {
    dk[unit.key(key) + d] = dkeys[c] * work.scale;
    dv[unit.key(key) + d] = dvalues[c];
  });
}

// A block for each of `each` things in a position of a span, and each KV head.
template <class... Parameters, class... Arguments>
void launch_each(const Call& call, const AttentionArgs& args, int64_t each, void (*kernel)(Parameters...),
                 const Arguments&... arguments) {
  for_work(
      args, [&](const Span& span) { return span.count * each; },
      [&](const Work& work, int64_t blocks) {
        launch(call, kernel, {.x = blocks, .y = work.kv_heads, .threads = kTileKeys, .shared_bytes = sizeof(Shared)},
               arguments..., work);
      });
}

}  // namespace

void exact_attention_forward(float* out, float* lse, const float* q, const float* store, const AttentionArgs& args) {
  launch_each(attention_call("attention_forward", args), args, args.heads / args.kv.kv_heads, forward_kernel, out, lse, q,
              store);
}

void exact_attention_backward(float* dq, float* dk, float* dv, const float* dout, const float* out, const float* lse,
                              const float* q, const float* store, const AttentionArgs& args) {
  const Call call = attention_call("attention_backward", args);
  const Inputs in{dout, out, lse, q, store};
  launch_each(call, args, 1, keys_kernel, dk, dv, in);
  launch_each(call, args, args.heads / args.kv.kv_heads, queries_kernel, dq, in);
}

}  // namespace zazen::cuda

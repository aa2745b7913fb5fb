// Moving rows. Tables are row-major on the device, tied ones too.
//
// Lookup, gather and scatter: a block a row. Limit: memory bandwidth.
// Gradient of the table: the block of a token that is the first of its id adds all tokens of that id, in order, to the table's
// row, so no two blocks write the same row; a warp looks through 32 ids at a time. The bits are those of the CPU. Looking for
// ids grows with T^2: for 8,192 tokens it is about a tenth of the time that moving rows of 4,096 takes, for 64k it is most.
#include "kernels/cuda/lanes.cuh"
#include "kernels/cuda/math.cuh"
#include "kernels/cuda/ops.h"

namespace zazen::cuda {
namespace {

template <bool Aligned, class E>
__global__ void __launch_bounds__(kThreads) lookup_kernel(float* x, const E* table, const int32_t* ids, int64_t H) {
  const int64_t to = static_cast<int64_t>(blockIdx.x) * H, from = static_cast<int64_t>(ids[blockIdx.x]) * H;
  for_row(
      H, [&](int64_t h, int64_t left) { store_eight<Aligned>(x + to + h, load_eight<Aligned>(table + from + h, left), left); });
}

struct Shared {
  unsigned earlier[kWarps];
};

// Whether a token before t has the id.
__device__ bool has_earlier(Shared& shared, const int32_t* ids, int32_t id, int64_t t) {
  bool found = false;
  for (int64_t u = threadIdx.x; u < t; u += kThreads) found = found || ids[u] == id;
  const unsigned lanes = __ballot_sync(kWholeWarp, found);
  if (threadIdx.x % kWarp == 0) shared.earlier[threadIdx.x / kWarp] = lanes;
  __syncthreads();
  unsigned any = 0;
  for (int warp = 0; warp < kWarps; ++warp) any |= shared.earlier[warp];
  return any != 0;
}

template <bool Aligned>
__global__ void __launch_bounds__(kThreads)
    backward_kernel(float* dtable, const float* dx, const int32_t* ids, int64_t T, int64_t H) {
  const int64_t t = blockIdx.x;
  const int32_t id = ids[t];
  if (has_earlier(shared_memory<Shared>(), ids, id, t)) return;
  float* row = dtable + static_cast<int64_t>(id) * H;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  for (int64_t base = 0; base < H; base += kThreads * kEight) {
    const int64_t h = base + static_cast<int64_t>(threadIdx.x) * kEight, left = H - h;
    Eight sum = load_eight<Aligned>(row + h, left);
    for (int64_t u = t; u < T; u += kWarp) {
      unsigned same = __ballot_sync(kWholeWarp, u + lane < T && ids[u + lane] == id);
      for (; same != 0; same &= same - 1) {
        const Eight d = load_eight<Aligned>(dx + (u + __ffs(same) - 1) * H + h, left);
        sum = each([&](int i) { return sum.v[i] + d.v[i]; });
      }
    }
    store_eight<Aligned>(row + h, sum, left);
  }
}

__device__ __forceinline__ void move(uint4* to, const uint4* from) { store_16(to, load_16(from)); }
__device__ __forceinline__ void move(uint32_t* to, const uint32_t* from) { *to = *from; }
__device__ __forceinline__ void move(uint16_t* to, const uint16_t* from) { *to = *from; }

// Rows of words: out[r] = in[rows[r]], or with `scatter` out[rows[r]] = in[r].
template <class Word>
__global__ void __launch_bounds__(kThreads)
    move_kernel(Word* out, const Word* in, const int32_t* rows, int64_t words, bool scatter) {
  const int64_t r = blockIdx.x, other = rows[r];
  const int64_t to = (scatter ? other : r) * words, from = (scatter ? r : other) * words;
  for (int64_t i = threadIdx.x; i < words; i += kThreads) move(out + to + i, in + from + i);
}

void move_rows(const char* op, TensorRef out, TensorView in, const int32_t* rows, int64_t R, int64_t H, bool scatter) {
  const int64_t bytes = H * dtype_bytes(in.type);
  const auto start = [&]<class Word>(Word* to) {
    launch({op, {{"R", R}, {"H", H}}}, move_kernel<Word>, {.x = R, .threads = kThreads}, to, in.as<Word>(), rows,
           bytes / static_cast<int64_t>(sizeof(Word)), scatter);
  };
  if (bytes % kVectorBytes == 0 && all_aligned(out.as<std::byte>(), in.as<std::byte>())) return start(out.as<uint4>());
  in.type == DType::bf16 ? start(out.as<uint16_t>()) : start(out.as<uint32_t>());
}

template <bool Aligned>
__global__ void __launch_bounds__(kThreads) add_kernel(float* x, const float* y, int64_t n) {
  const int64_t at = first_element(), left = n - at;
  const Eight a = load_eight<Aligned>(x + at, left), b = load_eight<Aligned>(y + at, left);
  store_eight<Aligned>(x + at, each([&](int i) { return a.v[i] + b.v[i]; }), left);
}

template <bool Aligned, class Y>
__global__ void __launch_bounds__(kThreads) scale_kernel(Y* y, const float* x, float factor, int64_t n) {
  const int64_t at = first_element(), left = n - at;
  const Eight a = load_eight<Aligned>(x + at, left);
  store_eight<Aligned>(y + at, each([&](int i) { return a.v[i] * factor; }), left);
}

}  // namespace

void embedding_forward(ThreadPool&, float* x, const EmbeddingTable& table, const int32_t* ids, int64_t T) {
  ZAZEN_CHECK(!table.panels, "UNSUPPORTED", "[embedding_forward] expected a row-major table on the device, got one in panels");
  const int64_t H = table.hidden;
  with_type(table.data, [&]<class E>(const E* data) {
    with_flag(aligned_rows(H, x, data), [&]<bool aligned>(Flag<aligned>) {
      launch({"embedding_forward", {{"T", T}, {"H", H}}}, lookup_kernel<aligned, E>, {.x = T, .threads = kThreads}, x, data,
             ids, H);
    });
  });
}

void embedding_backward(ThreadPool&, float* dtable, const float* dx, const int32_t* ids, int64_t T, int64_t H) {
  with_flag(aligned_rows(H, dtable, dx), [&]<bool aligned>(Flag<aligned>) {
    launch({"embedding_backward", {{"T", T}, {"H", H}}}, backward_kernel<aligned>,
           {.x = T, .threads = kThreads, .shared_bytes = sizeof(Shared)}, dtable, dx, ids, T, H);
  });
}

void gather_rows(ThreadPool&, TensorRef out, TensorView x, const int32_t* rows, int64_t R, int64_t H) {
  move_rows("gather_rows", out, x, rows, R, H, false);
}

void scatter_rows(ThreadPool&, float* dx, const float* dout, const int32_t* rows, int64_t R, int64_t H) {
  move_rows("scatter_rows", dx, dout, rows, R, H, true);
}

void add(ThreadPool&, float* x, const float* y, int64_t n) {
  with_flag(all_aligned(x, y), [&]<bool aligned>(Flag<aligned>) {
    launch({"add", {{"n", n}}}, add_kernel<aligned>, flat_grid(n), x, y, n);
  });
}

void scale(ThreadPool&, TensorRef y, const float* x, float factor, int64_t n) {
  with_type(y, [&]<class Y>(Y* out) {
    with_flag(all_aligned(out, x), [&]<bool aligned>(Flag<aligned>) {
      launch({"scale", {{"n", n}}}, scale_kernel<aligned, Y>, flat_grid(n), out, x, factor, n);
    });
  });
}

}  // namespace zazen::cuda

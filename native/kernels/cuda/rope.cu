// Rotary position embedding in the rotate-half layout (kernels/cpu/rope.cc has the formulas, whose bits these are). A block
// takes one token; a thread turns eight lanes i of a head with their partners i + D / 2. The tables' rows come from L1 for all
// heads but the first. Limit: memory bandwidth, x read and written once.
#include "kernels/cuda/lanes.cuh"
#include "kernels/cuda/ops.h"

namespace zazen::cuda {
namespace {

template <bool Aligned, class T>
__global__ void __launch_bounds__(kThreads)
    rotate_kernel(T* x, const int32_t* positions, const float* cos, const float* sin, int heads, int half, float sign) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * heads * 2 * half,
                table = static_cast<int64_t>(positions[blockIdx.x]) * half;
  const int steps = (half + kEight - 1) / kEight;
  for (int item = static_cast<int>(threadIdx.x); item < heads * steps; item += kThreads) {
    const int i = item % steps * kEight, left = half - i;
    T *first = x + row + static_cast<int64_t>(item / steps) * 2 * half + i, *second = first + half;
    const Eight c = load_eight<Aligned>(cos + table + i, left), s = load_eight<Aligned>(sin + table + i, left);
    const Eight a = load_eight<Aligned>(first, left), b = load_eight<Aligned>(second, left);
    store_eight<Aligned>(first, each([&](int j) { return a.v[j] * c.v[j] - b.v[j] * (s.v[j] * sign); }), left);
    store_eight<Aligned>(second, each([&](int j) { return b.v[j] * c.v[j] + a.v[j] * (s.v[j] * sign); }), left);
  }
}

}  // namespace

void rope(ThreadPool&, TensorRef x, const int32_t* positions, const float* cos, const float* sin, int64_t T, int64_t heads,
          int64_t D, float sign) {
  with_type(x, [&]<class E>(E* rows) {
    with_flag(aligned_rows(D / 2, rows, cos, sin), [&]<bool aligned>(Flag<aligned>) {
      launch({"rope", {{"T", T}, {"heads", heads}, {"D", D}}}, rotate_kernel<aligned, E>, {.x = T, .threads = kThreads}, rows,
             positions, cos, sin, static_cast<int>(heads), static_cast<int>(D / 2), sign);
    });
  });
}

}  // namespace zazen::cuda

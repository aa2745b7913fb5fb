// Rotary position embedding (Su et al. 2021) in the rotate-half layout: lane i of a head pairs with lane i + D / 2.
// The tables of cosines and sines come from outside, so scaled variants need nothing here.
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/ops.h"

namespace zazen::ZAZEN_ISA {
namespace {

// One row of heads: a' = a cos - b sin, b' = b cos + a sin. The backward turns the other way (sign -1).
void rotate_row(float* x, const float* cos, const float* sin, int64_t heads, int64_t half, float sign) {
  for_lanes(half, [&](int64_t i, auto lanes) {
    const F32x16 c = lanes.load(cos + i), s = lanes.load(sin + i) * set1(sign);
    for (int64_t h = 0; h < heads; ++h) {
      float* first = x + h * 2 * half + i;
      const F32x16 a = lanes.load(first), b = lanes.load(first + half);
      lanes.store(first, a * c - b * s);
      lanes.store(first + half, b * c + a * s);
    }
  });
}

}  // namespace

void rope(ThreadPool& pool, float* x, const int32_t* positions, const float* cos, const float* sin, int64_t T, int64_t heads,
          int64_t D, float sign) {
  const int64_t half = D / 2;
  parallel_pieces(pool, T, task_items(heads * D), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      rotate_row(x + t * heads * D, cos + positions[t] * half, sin + positions[t] * half, heads, half, sign);
  });
}

}  // namespace zazen::ZAZEN_ISA

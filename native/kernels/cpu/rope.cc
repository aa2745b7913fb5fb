// Rotary position embedding (Su et al. 2021) in the rotate-half layout: lane i of a head pairs with lane i + D / 2.
// The tables of cosines and sines come from outside, so scaled variants need nothing here.
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/ops.h"

namespace zazen::ZAZEN_ISA {
namespace {

// One row of heads: a' = a cos - b sin, b' = b cos + a sin. The backward turns the other way (sign -1).
template <class T>
void rotate_row(T* x, const float* cos, const float* sin, int64_t heads, int64_t half, float sign) {
  for_lanes(half, [&](int64_t i, auto lanes) {
    const F32x16 c = lanes.load(cos + i), s = lanes.load(sin + i) * set1(sign);
    for (int64_t h = 0; h < heads; ++h) {
      T* first = x + h * 2 * half + i;
      const F32x16 a = lanes.load(first), b = lanes.load(first + half);
      lanes.store(first, a * c - b * s);
      lanes.store(first + half, b * c + a * s);
    }
  });
}

// Heads that fit into one vector, several to a vector: what each lane reads of the tables, its partner, and its sign.
struct Narrow {
  int32_t angle[kLanes], partner[kLanes];
  float sign[kLanes];

  Narrow(int64_t half, float turn) {
    for (int64_t i = 0; i < kLanes; ++i) {
      angle[i] = static_cast<int32_t>(i % half);
      partner[i] = static_cast<int32_t>(i ^ half);
      sign[i] = (i & half) ? turn : -turn;
    }
  }
};

// The same sums as rotate_row: a cos + b (-sin) is a cos - b sin to the bit.
template <class T>
void rotate_narrow_row(T* x, const float* cos, const float* sin, int64_t n, int64_t half, const Narrow& narrow) {
  const F32x16 c = permute(load(cos, half), narrow.angle);
  const F32x16 s = permute(load(sin, half), narrow.angle) * load(narrow.sign);
  for_lanes(n, [&](int64_t i, auto lanes) {
    const F32x16 a = lanes.load(x + i);
    lanes.store(x + i, a * c + permute(a, narrow.partner) * s);
  });
}

}  // namespace

void rope(ThreadPool& pool, TensorRef x, const int32_t* positions, const float* cos, const float* sin, int64_t T, int64_t heads,
          int64_t D, float sign) {
  const int64_t half = D / 2, row = heads * D;
  const bool narrow = kLanes % D == 0;
  const Narrow lanes(narrow ? half : 1, sign);
  parallel_pieces(pool, T, task_items(row), [&](int64_t begin, int64_t end) {
    with_type(x, [&](auto* rows) {
      for (int64_t t = begin; t < end; ++t) {
        const float *c = cos + positions[t] * half, *s = sin + positions[t] * half;
        if (narrow)
          rotate_narrow_row(rows + t * row, c, s, row, half, lanes);
        else
          rotate_row(rows + t * row, c, s, heads, half, sign);
      }
    });
  });
}

}  // namespace zazen::ZAZEN_ISA

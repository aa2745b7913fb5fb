// Rotary embedding against a reference in double; the backward is the inverse rotation.
#include "support.h"

namespace zazen::test {
namespace {

struct Tables {
  Floats cos, sin;  // [positions, D / 2]
};
Tables tables(int64_t positions, int64_t D) {
  Tables t;
  for (int64_t p = 0; p < positions; ++p)
    for (int64_t i = 0; i < D / 2; ++i) {
      const double angle = static_cast<double>(p) * std::pow(10000.0, -2.0 * static_cast<double>(i) / static_cast<double>(D));
      t.cos.push_back(static_cast<float>(std::cos(angle)));
      t.sin.push_back(static_cast<float>(std::sin(angle)));
    }
  return t;
}

Floats rotate(const Kernels& k, ThreadPool& pool, Floats x, const Ints& positions, int64_t heads, int64_t D, float sign) {
  const Tables t = tables(101, D);
  k.rope(pool, x.data(), positions.data(), t.cos.data(), t.sin.data(), static_cast<int64_t>(positions.size()), heads, D, sign);
  return x;
}

Doubles reference(const Floats& x, const Ints& positions, int64_t heads, int64_t D) {
  const Tables t = tables(101, D);
  Doubles y(x.size());
  for (size_t r = 0; r < positions.size(); ++r)
    for (int64_t h = 0; h < heads; ++h)
      for (int64_t i = 0; i < D / 2; ++i) {
        const size_t at = (r * heads + h) * D + i;
        const double c = t.cos[positions[r] * D / 2 + i], s = t.sin[positions[r] * D / 2 + i];
        y[at] = x[at] * c - x[at + D / 2] * s;
        y[at + D / 2] = x[at + D / 2] * c + x[at] * s;
      }
  return y;
}

TEST(rope_matches_the_reference) {
  ThreadPool pool(2);
  for (const int64_t D : {2, 8, 16, 24, 32, 64, 96, 128})
    for (const int64_t heads : {1, 3}) {
      const Ints positions = random_ints(13, 1, 101);
      const Floats x = random_floats(13 * heads * D, 2);
      CHECK_ALL_NEAR(rotate(best(), pool, x, positions, heads, D, 1.0f), reference(x, positions, heads, D), 3e-7);
    }
}

TEST(rope_backward_undoes_the_rotation) {
  ThreadPool pool(1);
  for (const int64_t D : {8, 24, 64}) {
    const Ints positions = random_ints(9, 3, 101);
    const Floats x = random_floats(9 * 2 * D, 4);
    const Floats y = rotate(best(), pool, x, positions, 2, D, 1.0f);
    CHECK_ALL_NEAR(rotate(best(), pool, y, positions, 2, D, -1.0f), x, 5e-7);
  }
}

TEST(rope_has_the_same_bits_everywhere) {
  for (const int64_t D : {8, 24, 64}) {
    const Ints positions = random_ints(500, 5, 101);
    const Floats x = random_floats(500 * 3 * D, 6);
    const Floats all =
        SAME_EVERYWHERE([&](const Kernels& k, ThreadPool& pool) { return rotate(k, pool, x, positions, 3, D, 1.0f); });
    ThreadPool pool(1);
    for (int64_t t = 0; t < 500; t += 37)
      CHECK_BITS(rotate(best(), pool, slice(x, t * 3 * D, 3 * D), {positions[t]}, 3, D, 1.0f), slice(all, t * 3 * D, 3 * D));
  }
}

}  // namespace
}  // namespace zazen::test

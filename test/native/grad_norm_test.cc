// The sum of squares against a plain sum in long double.
#include "support.h"

namespace zazen::test {
namespace {

double sum_squares(const Kernels& k, ThreadPool& pool, const Floats& x) {
  Doubles scratch(static_cast<size_t>(ceil_div(static_cast<int64_t>(x.size()), 4096)));
  return k.sum_squares(pool, x.data(), static_cast<int64_t>(x.size()), scratch.data());
}

TEST(sum_squares_matches_the_reference) {
  ThreadPool pool(2);
  for (const int64_t n : {0, 1, 15, 17, 4095, 4096, 4097, 100003}) {
    const Floats x = random_floats(n, 1);
    long double want = 0;
    for (const float v : x) want += static_cast<long double>(v) * static_cast<long double>(v);
    const double got = sum_squares(best(), pool, x);
    CHECK(std::fabs(got - static_cast<double>(want)) <= 1e-13 * static_cast<double>(want));
  }
}

TEST(sum_squares_neither_underflows_nor_overflows) {
  ThreadPool pool(1);
  CHECK_NEAR(sum_squares(best(), pool, Floats(100, 1e-30f)) / 1e-58, 1.0, 1e-6);
  CHECK_NEAR(sum_squares(best(), pool, Floats(100, 1e30f)) / 1e62, 1.0, 1e-6);
  CHECK(std::isnan(sum_squares(best(), pool, {1.0f, kNan})));
}

TEST(sum_squares_has_the_same_bits_everywhere) {
  const Floats x = random_floats(300001, 2);
  SAME_EVERYWHERE([&](const Kernels& k, ThreadPool& pool) {
    const double total = sum_squares(k, pool, x);
    Floats halves(2);
    std::memcpy(halves.data(), &total, sizeof total);
    return halves;
  });
}

}  // namespace
}  // namespace zazen::test

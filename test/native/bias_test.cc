// The bias of a linear layer against plain loops; its gradient over cut tokens.
#include "support.h"

namespace zazen::test {
namespace {

TEST(bias_is_added_to_every_row_and_its_gradient_sums_them_in_order) {
  ThreadPool pool(2);
  for (const int64_t N : {1, 15, 16, 33, 200}) {
    const int64_t T = 7;
    const Floats y = random_floats(T * N, 1), b = random_floats(N, 2);
    Floats got = y, db = b, want = b;
    best().bias_forward(pool, got.data(), b.data(), T, N);
    best().bias_backward(pool, db.data(), y.data(), T, N);
    for (int64_t t = 0; t < T; ++t)
      for (int64_t n = 0; n < N; ++n) {
        CHECK(got[t * N + n] == y[t * N + n] + b[n]);
        want[n] += y[t * N + n];
      }
    CHECK_BITS(db, want);
  }
}

TEST(bias_has_the_same_bits_everywhere_and_however_it_is_cut) {
  const int64_t T = 90, N = 300, cut = 37;
  const Floats dy = random_floats(T * N, 1), b = random_floats(N, 2);
  const Floats whole = SAME_EVERYWHERE([&](const Kernels& k, ThreadPool& pool) {
    Floats y = dy, db = b;
    k.bias_forward(pool, y.data(), b.data(), T, N);
    k.bias_backward(pool, db.data(), dy.data(), T, N);
    append(y, db);
    return y;
  });
  ThreadPool pool(2);
  Floats db = b;
  best().bias_backward(pool, db.data(), dy.data(), cut, N);
  best().bias_backward(pool, db.data(), dy.data() + cut * N, T - cut, N);
  CHECK_BITS(db, slice(whole, T * N, N));
}

}  // namespace
}  // namespace zazen::test

// RMSNorm against a reference in double; gradients against central differences of that reference.
#include "support.h"

namespace zazen::test {
namespace {

constexpr float kEps = 1e-5f;

struct Shape {
  int64_t T, H;
};
const Shape kShapes[] = {{1, 1}, {3, 8}, {2, 15}, {5, 16}, {4, 17}, {37, 96}, {3, 130}};

Doubles reference(const Doubles& x, const Doubles& w, int64_t T, int64_t H) {
  Doubles y(x.size());
  for (int64_t t = 0; t < T; ++t) {
    double squares = 0;
    for (int64_t h = 0; h < H; ++h) squares += x[t * H + h] * x[t * H + h];
    const double rstd = 1 / std::sqrt(squares / static_cast<double>(H) + static_cast<double>(kEps));
    for (int64_t h = 0; h < H; ++h) y[t * H + h] = x[t * H + h] * rstd * w[h];
  }
  return y;
}

struct Case {
  int64_t T, H;
  Floats x, w, dy, dx, dw;  // dx and dw hold what the backward adds to
  explicit Case(Shape s)
      : T(s.T),
        H(s.H),
        x(random_floats(T * H, 1)),
        w(random_floats(H, 2, 0.5f, 1.5f)),
        dy(random_floats(T * H, 3)),
        dx(random_floats(T * H, 4)),
        dw(random_floats(H, 5)) {}
};

Floats forward(const Kernels& k, ThreadPool& pool, const Case& c) {
  Floats y(c.x.size()), rstd(static_cast<size_t>(c.T));
  k.rmsnorm_forward(pool, y.data(), rstd.data(), c.x.data(), c.w.data(), c.T, c.H, kEps);
  append(y, rstd);
  return y;
}

// dx then dw, over tokens [begin, begin + count), continuing from `dw`.
void backward(const Kernels& k, ThreadPool& pool, const Case& c, Floats& dx, Floats& dw, int64_t begin, int64_t count) {
  const Floats rstd = slice(forward(k, pool, c), c.T * c.H, c.T);
  const int64_t at = begin * c.H;
  k.rmsnorm_backward_input(pool, dx.data() + at, dx.data() + at, c.dy.data() + at, c.x.data() + at, c.w.data(),
                           rstd.data() + begin, count, c.H);
  k.rmsnorm_backward_weight(pool, dw.data(), c.dy.data() + at, c.x.data() + at, rstd.data() + begin, count, c.H);
}

TEST(rmsnorm_forward_matches_the_reference) {
  ThreadPool pool(2);
  for (const Shape s : kShapes) {
    const Case c(s);
    const Floats y = forward(best(), pool, c);
    CHECK_ALL_NEAR(slice(y, 0, s.T * s.H), reference(doubles(c.x), doubles(c.w), s.T, s.H), 1e-6);
  }
}

TEST(rmsnorm_backward_matches_differences) {
  ThreadPool pool(2);
  for (const Shape s : kShapes) {
    const Case c(s);
    Floats dx = c.dx, dw = c.dw;
    backward(best(), pool, c, dx, dw, 0, s.T);
    Doubles want_x =
        numeric_gradient(doubles(c.x), [&](const Doubles& x) { return dot(reference(x, doubles(c.w), s.T, s.H), c.dy); });
    Doubles want_w =
        numeric_gradient(doubles(c.w), [&](const Doubles& w) { return dot(reference(doubles(c.x), w, s.T, s.H), c.dy); });
    for (size_t i = 0; i < want_x.size(); ++i) want_x[i] += static_cast<double>(c.dx[i]);
    for (size_t i = 0; i < want_w.size(); ++i) want_w[i] += static_cast<double>(c.dw[i]);
    CHECK_ALL_NEAR(dx, want_x, 3e-6);
    CHECK_ALL_NEAR(dw, want_w, 3e-6);
  }
}

TEST(rmsnorm_backward_reads_a_residual_of_its_own) {
  ThreadPool pool(2);
  const Case c({5, 37});
  Floats in_place = c.dx, apart(c.dx.size(), kNan), dw = c.dw;
  backward(best(), pool, c, in_place, dw, 0, c.T);
  const Floats rstd = slice(forward(best(), pool, c), c.T * c.H, c.T);
  best().rmsnorm_backward_input(pool, apart.data(), c.dx.data(), c.dy.data(), c.x.data(), c.w.data(), rstd.data(), c.T, c.H);
  CHECK_BITS(apart, in_place);
}

TEST(rmsnorm_has_the_same_bits_everywhere) {
  for (const Shape s : {Shape{3, 15}, Shape{300, 130}, Shape{64, 512}}) {
    const Case c(s);
    SAME_EVERYWHERE([&](const Kernels& k, ThreadPool& pool) {
      Floats all = forward(k, pool, c), dx = c.dx, dw = c.dw;
      backward(k, pool, c, dx, dw, 0, s.T);
      append(all, dx);
      append(all, dw);
      return all;
    });
  }
}

TEST(rmsnorm_rows_do_not_depend_on_their_neighbours) {
  ThreadPool pool(2);
  const Case c({37, 96});
  const Floats whole = forward(best(), pool, c);
  for (int64_t t = 0; t < c.T; ++t) {
    Case row({1, 96});
    row.x = slice(c.x, t * c.H, c.H);
    CHECK_BITS(slice(forward(best(), pool, row), 0, c.H), slice(whole, t * c.H, c.H));
  }
}

TEST(rmsnorm_backward_in_two_halves_has_the_bits_of_one_call) {
  ThreadPool pool(2);
  const Case c({37, 96});
  Floats dx = c.dx, dw = c.dw, dx2 = c.dx, dw2 = c.dw;
  backward(best(), pool, c, dx, dw, 0, 37);
  backward(best(), pool, c, dx2, dw2, 0, 20);
  backward(best(), pool, c, dx2, dw2, 20, 17);
  CHECK_BITS(dx2, dx);
  CHECK_BITS(dw2, dw);
}

}  // namespace
}  // namespace zazen::test

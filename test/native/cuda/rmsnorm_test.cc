// RMSNorm on the emulated device against the CPU's, which has its own tests. Sums over a row have another order there.
#include "native/cuda/device.h"

namespace zazen::test {
namespace {

constexpr float kEps = 1e-5f;

struct Shape {
  int64_t T, H;
};
// Rows of one element and of several passes of a block; whole vectors and not.
const Shape kShapes[] = {{1, 1}, {3, 8}, {2, 15}, {5, 16}, {3, 130}, {2, 2048}, {2, 2056}, {1, 4099}};

// y then rstd, or dx then dw, by the CPU and by the device; E is the type of x, y and w.
template <class E>
struct Case {
  int64_t T, H;
  std::vector<E> x, w;
  Floats dy, residual, dw, rstd;
  explicit Case(Shape s)
      : T(s.T),
        H(s.H),
        x(typed<E>(random_floats(T * H, 1))),
        w(typed<E>(random_floats(H, 2, 0.5f, 1.5f))),
        dy(random_floats(T * H, 3)),
        residual(random_floats(T * H, 4)),
        dw(random_floats(H, 5)),
        rstd(static_cast<size_t>(T)) {}

  std::vector<E> forward() {
    std::vector<E> y(x.size());
    best().rmsnorm_forward(no_threads(), y.data(), rstd.data(), x.data(), w.data(), T, H, kEps);
    return y;
  }
  std::vector<E> device_forward(Floats& device_rstd, int64_t offset = 0) const {
    const Shifted<E> dx(x, offset);
    const Device<E> dw(w), y(x.size());
    const Device<float> scale(rstd.size());
    cuda::rmsnorm_forward(no_threads(), y.data(), scale.data(), dx.data(), dw.data(), T, H, kEps);
    device_rstd = scale.values();
    return y.values();
  }
};

template <class E>
void forward_matches(double tolerance) {
  for (const Shape s : kShapes) {
    Case<E> c(s);
    Floats rstd;
    const Floats want = plain(c.forward()), got = plain(c.device_forward(rstd));
    CHECK_ALL_NEAR(got, doubles(want), tolerance);
    CHECK_ALL_NEAR(rstd, doubles(c.rstd), 1e-6);
  }
}
TEST(cuda_rmsnorm_forward_matches_the_cpu) {
  forward_matches<float>(1e-6);
  forward_matches<bf16>(0x1p-8);
}

template <class E>
void backward_matches() {
  for (const Shape s : kShapes) {
    Case<E> c(s);
    c.forward();
    Floats want_x(c.dy.size()), want_w = c.dw;
    best().rmsnorm_backward_input(no_threads(), want_x.data(), c.residual.data(), c.dy.data(), c.x.data(), c.w.data(),
                                  c.rstd.data(), s.T, s.H);
    best().rmsnorm_backward_weight(no_threads(), want_w.data(), c.dy.data(), c.x.data(), c.rstd.data(), s.T, s.H);
    const Device<E> x(c.x), w(c.w);
    const Device<float> dy(c.dy), residual(c.residual), rstd(c.rstd), dx(c.dy.size()), dw(c.dw);
    cuda::rmsnorm_backward_input(no_threads(), dx.data(), residual.data(), dy.data(), x.data(), w.data(), rstd.data(), s.T,
                                 s.H);
    cuda::rmsnorm_backward_weight(no_threads(), dw.data(), dy.data(), x.data(), rstd.data(), s.T, s.H);
    CHECK_ALL_NEAR(dx.values(), doubles(want_x), 2e-6);
    CHECK_ALL_NEAR(dw.values(), doubles(want_w), 1e-6);
    cuda::rmsnorm_backward_input(no_threads(), residual.data(), residual.data(), dy.data(), x.data(), w.data(), rstd.data(),
                                 s.T, s.H);
    CHECK_BITS(residual.values(), dx.values());
  }
}
TEST(cuda_rmsnorm_backward_matches_the_cpu) {
  backward_matches<float>();
  backward_matches<bf16>();
}

TEST(cuda_rmsnorm_sums_long_segments_in_order) {
  Case<float> c({300, 9});
  c.forward();
  Floats want = c.dw;
  best().rmsnorm_backward_weight(no_threads(), want.data(), c.dy.data(), c.x.data(), c.rstd.data(), c.T, c.H);
  const Device<float> x(c.x), dy(c.dy), rstd(c.rstd), dw(c.dw);
  cuda::rmsnorm_backward_weight(no_threads(), dw.data(), dy.data(), x.data(), rstd.data(), c.T, c.H);
  CHECK_ALL_NEAR(dw.values(), doubles(want), 3e-6);
}

TEST(cuda_rmsnorm_rows_do_not_depend_on_neighbours_or_alignment) {
  Case<float> c({5, 2056});
  Floats rstd, other;
  const Floats whole = c.device_forward(rstd);
  CHECK_BITS(c.device_forward(other, 1), whole);
  for (int64_t t = 0; t < c.T; ++t) {
    Case<float> row({1, 2056});
    row.x = slice(c.x, t * c.H, c.H);
    CHECK_BITS(row.device_forward(other), slice(whole, t * c.H, c.H));
  }
}

}  // namespace
}  // namespace zazen::test

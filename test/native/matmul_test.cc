// Linear layers: every output must be the chain of fused multiply-adds that kernels.h promises, so all comparisons are bit for
// bit against that chain written as a loop.
#include <algorithm>
#include <cmath>

#include "support.h"

namespace zazen::test {
namespace {

struct Shape {
  int64_t M, N, K;
};
const Shape kShapes[] = {{1, 1, 1},   {1, 33, 16},  {2, 31, 7},    {3, 130, 33},  {5, 96, 96},   {6, 65, 20},   {7, 64, 300},
                         {12, 40, 9}, {13, 520, 5}, {25, 70, 129}, {193, 97, 18}, {30, 545, 34}, {400, 16, 257}};
// Each crosses the edge of a block in one size and is small in the others: the columns of a task, the transposed weights'
// outputs and the depth, with few rows and with many.
const Shape kLarge[] = {{3, 2100, 40}, {26, 2100, 9}, {2, 40, 800}, {25, 34, 800}};

// Linear layer with strides wider than its rows; the gaps hold NaN in what is read and a mark in what is written.
struct Case {
  int64_t M, N, K, ldx, ldy;
  Floats x, dy, w, panels;
  explicit Case(Shape s, int64_t gap = 3)
      : M(s.M),
        N(s.N),
        K(s.K),
        ldx(K + gap),
        ldy(N + gap),
        x(random_floats(M * ldx, 1)),
        dy(random_floats(M * ldy, 2)),
        w(random_floats(N * K, 3)),
        panels(static_cast<size_t>(panel_elements(N, K))) {
    for (int64_t m = 0; m < M; ++m) {
      std::fill(x.begin() + m * ldx + K, x.begin() + (m + 1) * ldx, kNan);
      std::fill(dy.begin() + m * ldy + N, dy.begin() + (m + 1) * ldy, kNan);
    }
    for (int64_t n = 0; n < N; ++n)
      for (int64_t k = 0; k < K; ++k) panels[panel_index(n, k, K)] = w[n * K + k];
  }
};
constexpr float kMark = 777.0f;

Floats forward(const Kernels& k, ThreadPool& pool, const Case& c) {
  Floats y(c.M * c.ldy, kMark);
  k.linear_forward(pool, y.data(), c.ldy, c.x.data(), c.ldx, c.panels.data(), c.M, c.N, c.K, false);
  return y;
}
Floats forward_chain(const Case& c) {
  Floats y(c.M * c.ldy, kMark);
  for (int64_t m = 0; m < c.M; ++m)
    for (int64_t n = 0; n < c.N; ++n) {
      float sum = 0;
      for (int64_t k = 0; k < c.K; ++k) sum = std::fma(c.x[m * c.ldx + k], c.w[n * c.K + k], sum);
      y[m * c.ldy + n] = sum;
    }
  return y;
}

// dx = dy W with at most `piece` rows of W transposed at a time.
Floats backward_input(const Kernels& k, ThreadPool& pool, const Case& c, bool accumulate, int64_t piece = 64) {
  Floats dx(c.M * c.ldx, kMark);
  for (int64_t n = 0; n < c.N; n += piece) {
    const int64_t count = std::min(piece, c.N - n);
    Floats transposed(static_cast<size_t>(panel_elements(c.K, count)), kNan);
    k.weight_transpose(pool, transposed.data(), c.panels.data(), n, count, c.K);
    k.linear_forward(pool, dx.data(), c.ldx, c.dy.data() + n, c.ldy, transposed.data(), c.M, c.K, count, accumulate || n > 0);
  }
  return dx;
}
Floats backward_input_chain(const Case& c, bool accumulate) {
  Floats dx(c.M * c.ldx, kMark);
  for (int64_t m = 0; m < c.M; ++m)
    for (int64_t k = 0; k < c.K; ++k) {
      float sum = accumulate ? kMark : 0.0f;
      for (int64_t n = 0; n < c.N; ++n) sum = std::fma(c.dy[m * c.ldy + n], c.w[n * c.K + k], sum);
      dx[m * c.ldx + k] = sum;
    }
  return dx;
}

// dW in panels from tokens [begin, end), continuing from dw.
void backward_weight(const Kernels& k, ThreadPool& pool, const Case& c, Floats& dw, int64_t begin, int64_t end) {
  k.linear_backward_weight(pool, dw.data(), c.dy.data() + begin * c.ldy, c.ldy, c.x.data() + begin * c.ldx, c.ldx, end - begin,
                           c.N, c.K);
}
Floats weight_start(const Case& c) {
  Floats dw(c.panels.size());
  for (size_t i = 0; i < dw.size(); ++i) dw[i] = c.panels[i] * 0.5f;
  return dw;
}
Floats backward_weight_chain(const Case& c) {
  Floats dw = weight_start(c);
  for (int64_t n = 0; n < c.N; ++n)
    for (int64_t k = 0; k < c.K; ++k) {
      float& sum = dw[panel_index(n, k, c.K)];
      for (int64_t m = 0; m < c.M; ++m) sum = std::fma(c.dy[m * c.ldy + n], c.x[m * c.ldx + k], sum);
    }
  return dw;
}

void check_forward(const Case& c) {
  CHECK_BITS(SAME_EVERYWHERE([&](const Kernels& k, ThreadPool& pool) { return forward(k, pool, c); }), forward_chain(c));
}
void check_backward_input(const Case& c) {
  for (const bool accumulate : {false, true})
    for (const int64_t piece : {int64_t{64}, int64_t{4096}})
      CHECK_BITS(
          SAME_EVERYWHERE([&](const Kernels& k, ThreadPool& pool) { return backward_input(k, pool, c, accumulate, piece); }),
          backward_input_chain(c, accumulate));
}
void check_backward_weight(const Case& c) {
  CHECK_BITS(SAME_EVERYWHERE([&](const Kernels& k, ThreadPool& pool) {
               Floats dw = weight_start(c);
               backward_weight(k, pool, c, dw, 0, c.M);
               return dw;
             }),
             backward_weight_chain(c));
}
void check_shape(Shape s) {
  const Case c(s);
  check_forward(c);
  check_backward_input(c);
  check_backward_weight(c);
}

TEST(linear_is_one_chain_for_each_output) {
  for (const Shape s : kShapes) check_shape(s);
}

TEST(linear_is_one_chain_in_large_shapes) {
  for (const Shape s : kLarge) check_shape(s);
}

// Kernels that are not vectorised take long for shapes that are large in two sizes: each runs only the pass whose edges it
// crosses.
TEST(linear_forward_is_one_chain_across_packed_blocks) {
  for (const Shape s : {Shape{25, 513, 515}, Shape{1024, 513, 2}}) check_forward(Case(s));
}
TEST(linear_weight_gradient_is_one_chain_across_blocks) {
  for (const int64_t gap : {3, 200}) check_backward_weight(Case({257, 33, 390}, gap));  // the wide gap has the inputs packed
}

TEST(linear_without_rows_changes_nothing) {
  ThreadPool pool(2);
  const Case c({0, 33, 5});
  CHECK(forward(best(), pool, c).empty());
  Floats dw = weight_start(c);
  backward_weight(best(), pool, c, dw, 0, 0);
  CHECK_BITS(dw, weight_start(c));
}

TEST(linear_forward_of_a_row_does_not_depend_on_the_batch) {
  ThreadPool pool(2);
  const Case c({65, 545, 300}, 0);
  const Floats whole = forward(best(), pool, c);
  for (int64_t count : {1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 24, 25, 64})
    for (int64_t first = 0; first + count <= c.M; first += count) {
      Case part({0, c.N, c.K}, 0);
      part.M = count;
      part.x = slice(c.x, first * c.K, count * c.K);
      CHECK_BITS(forward(best(), pool, part), slice(whole, first * c.N, count * c.N));
    }
}

TEST(linear_weight_gradient_continues_its_chain) {
  ThreadPool pool(2);
  for (const Shape s : {Shape{37, 40, 33}, Shape{600, 65, 20}}) {
    const Case c(s);
    Floats whole = weight_start(c), parts = weight_start(c);
    backward_weight(best(), pool, c, whole, 0, c.M);
    for (const int64_t cut : {int64_t{1}, c.M / 2, c.M - 2}) {
      parts = weight_start(c);
      backward_weight(best(), pool, c, parts, 0, cut);
      backward_weight(best(), pool, c, parts, cut, c.M);
      CHECK_BITS(parts, whole);
    }
  }
}

// The padding of the last panel is part of the parameter: it must stay zero through gradients.
TEST(linear_weight_gradient_leaves_padding_zero) {
  ThreadPool pool(1);
  const Case c({9, 33, 7});
  Floats dw(c.panels.size(), 0.0f);
  backward_weight(best(), pool, c, dw, 0, c.M);
  for (int64_t n = 33; n < 64; ++n)
    for (int64_t k = 0; k < c.K; ++k) CHECK(dw[panel_index(n, k, c.K)] == 0.0f);
}

}  // namespace
}  // namespace zazen::test

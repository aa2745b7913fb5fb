// Linear layers of bf16 weights: every output must be the chain that kernels.h promises, so all comparisons are bit for bit
// against that chain written as a loop.
#include <cmath>

#include "bf16.h"

namespace zazen::test {
namespace {

constexpr float kMark = 777.0f;
constexpr float kLeast = 0x1p-126f;  // normal

// A number whose exponent is as small is zero to the instruction.
float flushed(float x) { return std::fabs(x) < kLeast ? std::copysign(0.0f, x) : x; }
// The result is flushed by what it is before its exponent is bounded, so the sum is taken of numbers 2^40 times as large.
float link(float a, float b, float c) {
  const float larger = std::fma(flushed(a) * 0x1p40f, flushed(b), flushed(c) * 0x1p40f);
  if (std::fabs(larger) < kLeast * 0x1p40f) return std::copysign(0.0f, larger);
  return std::fma(flushed(a), flushed(b), flushed(c));
}

struct Shape {
  int64_t M, N, K;
};
const Shape kShapes[] = {{1, 1, 1},   {1, 33, 16},  {2, 31, 7},    {3, 130, 33},  {5, 96, 96},   {6, 65, 20},  {7, 64, 300},
                         {12, 40, 9}, {13, 520, 5}, {25, 70, 129}, {193, 97, 18}, {30, 545, 34}, {64, 16, 257}};
// Across the edges of blocks: of depth, and of outputs that wait to be rounded.
const Shape kLarge[] = {{3, 2100, 40}, {26, 1100, 9}, {2, 40, 1600}, {26, 34, 2051}};

// Inputs in bf16 with rows wider than their numbers; the gaps hold NaN. `scale` may make products subnormal.
struct Case {
  int64_t M, N, K, ldx, ldy, depth;
  Floats x, dy, w;  // bf16 values
  Bf16s panels;
  explicit Case(Shape s, int64_t gap = 3, float scale = 1.0f)
      : M(s.M), N(s.N), K(s.K), ldx(K + gap), ldy(N + gap), depth(panel_depth(K, DType::bf16)) {
    x = as_bf16(random_floats(M * ldx, 1));
    dy = as_bf16(random_floats(M * ldy, 2));
    w = as_bf16(random_floats(N * K, 3));
    for (float& value : x) value *= scale;
    for (float& value : w) value *= scale;
    for (int64_t m = 0; m < M; ++m) {
      std::fill(x.begin() + m * ldx + K, x.begin() + (m + 1) * ldx, kNan);
      std::fill(dy.begin() + m * ldy + N, dy.begin() + (m + 1) * ldy, kNan);
    }
    panels.resize(static_cast<size_t>(panel_elements(N, K, DType::bf16)));
    for (int64_t n = 0; n < N; ++n)
      for (int64_t k = 0; k < K; ++k) panels[pair_index(n, k, depth)] = f32_to_bf16(w[n * K + k]);
  }
};

// y = start + x W^T by the chain: of a pair of inputs the odd one comes first, and the input that is not there is a zero.
Floats forward_chain(const Case& c, bool accumulate = false) {
  Floats y(c.M * c.ldy, kMark);
  const auto x = [&](int64_t m, int64_t k) { return k < c.K ? c.x[m * c.ldx + k] : 0.0f; };
  const auto w = [&](int64_t n, int64_t k) { return k < c.K ? c.w[n * c.K + k] : 0.0f; };
  for (int64_t m = 0; m < c.M; ++m)
    for (int64_t n = 0; n < c.N; ++n) {
      float sum = accumulate ? kMark : 0;
      for (int64_t k = 0; k < c.depth; k += 2) sum = link(x(m, k), w(n, k), link(x(m, k + 1), w(n, k + 1), sum));
      y[m * c.ldy + n] = sum;
    }
  return y;
}

enum class Out { f32, sum, bf16 };

// As floats, whatever the type of x and y is.
Floats forward(const Kernels& k, ThreadPool& pool, const Case& c, DType x_type, Out out) {
  Floats y(c.M * c.ldy, kMark);
  Bf16s short_y = rounded(y);
  const Bf16s short_x = rounded(c.x);
  const TensorView x = x_type == DType::bf16 ? TensorView(short_x.data()) : TensorView(c.x.data());
  const TensorRef to = out == Out::bf16 ? TensorRef(short_y.data()) : TensorRef(y.data());
  k.linear_forward(pool, to, c.ldy, x, c.ldx, c.panels.data(), c.M, c.N, c.K, out == Out::sum);
  return out == Out::bf16 ? widened(short_y) : y;
}

void check_forward(const Case& c) {
  for (const DType type : {DType::f32, DType::bf16})
    for (const Out out : {Out::f32, Out::sum, Out::bf16}) {
      Floats want = forward_chain(c, out == Out::sum);
      if (out == Out::bf16) want = as_bf16(want);
      CHECK_BITS(SAME_EVERYWHERE([&](const Kernels& k, ThreadPool& pool) { return forward(k, pool, c, type, out); }), want);
    }
}

// dW in f32 panels from tokens [begin, end), continuing from dw.
void add_gradient(const Kernels& k, ThreadPool& pool, const Case& c, Floats& dw, DType dy_type, int64_t begin, int64_t end) {
  const Bf16s x = rounded(c.x), short_dy = rounded(c.dy);
  const TensorView dy = dy_type == DType::bf16 ? TensorView(short_dy.data()) : TensorView(c.dy.data());
  k.linear_backward_weight(pool, dw.data(), dy + begin * c.ldy, c.ldy, x.data() + begin * c.ldx, c.ldx, end - begin, c.N, c.K);
}
Floats gradient_chain(const Case& c) {
  Floats dw(c.panels.size());
  for (int64_t n = 0; n < c.N; ++n)
    for (int64_t k = 0; k < c.K; ++k)
      for (int64_t m = 0; m < c.M; ++m) {
        float& sum = dw[panel_index(n, k, c.depth)];
        sum = link(c.dy[m * c.ldy + n], c.x[m * c.ldx + k], sum);
      }
  return dw;
}
void check_gradient(const Case& c) {
  for (const DType type : {DType::f32, DType::bf16})
    CHECK_BITS(SAME_EVERYWHERE([&](const Kernels& k, ThreadPool& pool) {
                 Floats dw(c.panels.size());
                 add_gradient(k, pool, c, dw, type, 0, c.M);
                 return dw;
               }),
               gradient_chain(c));
}

TEST(bf16_linear_is_one_chain_for_each_output) {
  for (const Shape s : kShapes)
    for (const int64_t gap : {0, 3, 4}) check_forward(Case(s, gap));
}
TEST(bf16_linear_is_one_chain_in_large_shapes) {
  for (const Shape s : kLarge) check_forward(Case(s, 4));
}
TEST(bf16_linear_takes_subnormal_numbers_for_zero) {
  for (const float scale : {0x1p-63f, 0x1p-64f, 0x1p-126f})
    for (const Shape s : {Shape{3, 40, 33}, Shape{30, 70, 18}}) {
      check_forward(Case(s, 3, scale));
      Case c(s, 3, scale * 0x1p-60f);
      check_gradient(c);
    }
}
TEST(bf16_linear_weight_gradient_is_one_chain) {
  for (const Shape s : kShapes) check_gradient(Case(s));
  for (const Shape s : {Shape{515, 33, 40}, Shape{7, 34, 390}}) check_gradient(Case(s));
}

// Wherever it is cut, after an odd token too, and whatever the sign of a sum that was flushed.
TEST(bf16_linear_weight_gradient_continues_its_chain) {
  ThreadPool pool(2);
  for (const float scale : {1.0f, 0x1p-63f})
    for (const Shape s : {Shape{37, 40, 33}, Shape{600, 65, 20}}) {
      const Case c(s, 3, scale);
      Case small = c;
      for (float& value : small.dy) value *= scale;
      Floats whole(c.panels.size());
      add_gradient(best(), pool, small, whole, DType::f32, 0, c.M);
      for (const int64_t cut : {int64_t{1}, int64_t{2}, c.M / 2, c.M - 3}) {
        Floats parts(c.panels.size());
        add_gradient(best(), pool, small, parts, DType::f32, 0, cut);
        add_gradient(best(), pool, small, parts, DType::f32, cut, c.M);
        CHECK_BITS(parts, whole);
      }
    }
}

TEST(bf16_linear_of_a_row_does_not_depend_on_the_batch) {
  ThreadPool pool(2);
  const Case c({65, 545, 300}, 0);
  const Floats whole = forward(best(), pool, c, DType::bf16, Out::bf16);
  for (int64_t count : {1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 24, 25, 64})
    for (int64_t first = 0; first + count <= c.M; first += count) {
      Case part({0, c.N, c.K}, 0);
      part.M = count;
      part.x = slice(c.x, first * c.K, count * c.K);
      CHECK_BITS(forward(best(), pool, part, DType::bf16, Out::bf16), slice(whole, first * c.N, count * c.N));
    }
}

// Rows of W [N, K] at a time become the weight [K, count]; its own padding is zero.
TEST(bf16_weight_transpose_moves_every_weight) {
  for (const Shape s : {Shape{0, 33, 7}, Shape{0, 64, 96}, Shape{0, 70, 129}, Shape{0, 1, 40}}) {
    const Case c(s);
    for (const int64_t piece : {int64_t{32}, int64_t{4096}})
      for (int64_t n = 0; n < c.N; n += piece) {
        const int64_t count = std::min(piece, c.N - n), depth = panel_depth(count, DType::bf16);
        const Floats got = SAME_EVERYWHERE([&](const Kernels& k, ThreadPool& pool) {
          Bf16s out(static_cast<size_t>(panel_elements(c.K, count, DType::bf16)), bf16{0x4000});
          k.weight_transpose(pool, out.data(), c.panels.data(), n, count, c.K);
          Floats logical;
          for (int64_t k1 = 0; k1 < c.K; ++k1)
            for (int64_t i = 0; i < depth; ++i) logical.push_back(bf16_to_f32(out[pair_index(k1, i, depth)].bits));
          return logical;
        });
        Floats want;
        for (int64_t k = 0; k < c.K; ++k)
          for (int64_t i = 0; i < depth; ++i) want.push_back(i < count ? c.w[(n + i) * c.K + k] : 0.0f);
        CHECK_BITS(got, want);
      }
  }
}

TEST(weight_round_gives_the_nearest_bf16_in_its_place) {
  constexpr int64_t kN = 70, kK = 37, kDepth = 38;
  Floats master(static_cast<size_t>(panel_elements(kN, kK, DType::bf16)));
  const Floats w = random_floats(kN * kK, 5);
  Bf16s panels(master.size());
  for (int64_t n = 0; n < kN; ++n)
    for (int64_t k = 0; k < kK; ++k) {
      master[panel_index(n, k, kDepth)] = w[n * kK + k];
      panels[pair_index(n, k, kDepth)] = f32_to_bf16(w[n * kK + k]);
    }
  for (const bool as_panels : {true, false})
    CHECK_BITS(SAME_EVERYWHERE([&](const Kernels& k, ThreadPool& pool) {
                 Bf16s out(master.size());
                 k.weight_round(pool, out.data(), master.data(), static_cast<int64_t>(master.size()), as_panels);
                 return widened(out);
               }),
               as_panels ? widened(panels) : as_bf16(master));
}

}  // namespace
}  // namespace zazen::test

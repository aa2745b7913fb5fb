// Linear layers on the emulated device. In f32 they have the bits of the CPU. In bf16 the emulator's matrix instruction has an
// order of its own within 16 products, so values are compared within rounding, and bits between shapes of tiles: the definition
// is one chain of such instructions, here written as a loop. On a GPU (ZAZEN_ON_DEVICE) the instruction is a tensor core's,
// whose order is not known, and the loop is near.
#include "native/cuda/device.h"

namespace zazen::test {
namespace {

constexpr float kMark = 0.25f;  // what the output held

#if defined(ZAZEN_ON_DEVICE)
#define CHECK_CHAIN(got, want) CHECK_ALL_NEAR(got, doubles(want), 1e-2)
constexpr double kNearTheCpu = 1e-5;  // a tensor core cuts off the last bits of each of its steps
#else
#define CHECK_CHAIN CHECK_BITS
constexpr double kNearTheCpu = 2e-6;
#endif

struct Shape {
  int64_t M, N, K;
};
// Around the tiles' edges, odd, and of more stages than a pipeline has.
const Shape kShapes[] = {{1, 1, 1},     {3, 33, 17},  {16, 32, 64},   {17, 40, 130},
                         {33, 40, 600}, {65, 33, 40}, {130, 140, 72}, {129, 8, 264}};

// f32 W [N, K] in the CPU's panels.
Floats panels(const Floats& w, int64_t N, int64_t K) {
  Floats out(static_cast<size_t>(panel_elements(N, K)));
  for (int64_t n = 0; n < N; ++n)
    for (int64_t k = 0; k < K; ++k) out[panel_index(n, k, K)] = w[n * K + k];
  return out;
}

TEST(cuda_linear_f32_has_the_bits_of_the_cpu) {
  for (const Shape s : kShapes)
    for (const bool accumulate : {false, true}) {
      const int64_t ldx = s.K + 3, ldy = s.N + 2;
      const Floats x = random_floats(s.M * ldx, 1), w = random_floats(s.N * s.K, 2);
      Floats want(s.M * ldy, kMark);
      const Device<float> y(want), dx(x), dw(w);
      best().linear_forward(no_threads(), want.data(), ldy, x.data(), ldx, panels(w, s.N, s.K).data(), s.M, s.N, s.K,
                            accumulate);
      cuda::linear_forward(no_threads(), y.data(), ldy, dx.data(), ldx, dw.data(), s.M, s.N, s.K, accumulate);
      CHECK_BITS(y.values(), want);
    }
}

TEST(cuda_linear_backward_weight_f32_has_the_bits_of_the_cpu) {
  for (const Shape s : kShapes) {
    const Floats dy = random_floats(s.M * s.N, 1), x = random_floats(s.M * s.K, 2), start = random_floats(s.N * s.K, 3);
    Floats want = panels(start, s.N, s.K);
    best().linear_backward_weight(no_threads(), want.data(), dy.data(), s.N, x.data(), s.K, s.M, s.N, s.K);
    const Device<float> dw(start), d(dy), in(x);
    cuda::linear_backward_weight(no_threads(), dw.data(), d.data(), s.N, in.data(), s.K, s.M, s.N, s.K);
    CHECK_BITS(panels(dw.values(), s.N, s.K), want);
  }
}

// The chain: from `start`, 16 products and the sum so far are added in double and rounded, as the emulator's instruction does.
template <class Left, class Right>
float chain(float start, int64_t depth, const Left& left, const Right& right) {
  float sum = start;
  for (int64_t k = 0; k < depth; k += 16) {
    double step = static_cast<double>(sum);
    for (int64_t i = k; i < std::min(k + 16, depth); ++i) step += static_cast<double>(left(i)) * static_cast<double>(right(i));
    sum = static_cast<float>(step);
  }
  return sum;
}

template <class X, class Y>
void forward_is_the_chain(int64_t gap, bool accumulate) {
  for (const Shape s : kShapes) {
    const int64_t ldx = s.K + gap, ldy = s.N + 2;
    const std::vector<X> x = typed<X>(random_floats(s.M * ldx, 1));
    const Bf16s w = rounded(random_floats(s.N * s.K, 2));
    std::vector<Y> want = typed<Y>(Floats(s.M * ldy, kMark));
    const Device<Y> y(want);
    const Device<X> in(x);
    const Device<bf16> weight(w);
    const Floats xs = as_bf16(plain(x)), ws = widened(w);
    Floats sums(want.size(), kMark);
    for (int64_t m = 0; m < s.M; ++m)
      for (int64_t n = 0; n < s.N; ++n)
        sums[m * ldy + n] = chain(
            accumulate ? kMark : 0.0f, s.K, [&](int64_t k) { return xs[m * ldx + k]; },
            [&](int64_t k) { return ws[n * s.K + k]; });
    cuda::linear_forward(no_threads(), y.data(), ldy, in.data(), ldx, weight.data(), s.M, s.N, s.K, accumulate);
    CHECK_CHAIN(plain(y.values()), plain(typed<Y>(sums)));
  }
}

TEST(cuda_linear_bf16_is_a_chain_of_matrix_steps) {
  forward_is_the_chain<bf16, bf16>(8, false);
  forward_is_the_chain<bf16, float>(3, true);
  forward_is_the_chain<float, float>(0, false);
}

TEST(cuda_linear_bf16_is_near_the_cpu) {
  const Shape s{20, 40, 96};
  const Bf16s x = rounded(random_floats(s.M * s.K, 1)), w = rounded(random_floats(s.N * s.K, 2));
  Bf16s pairs(static_cast<size_t>(panel_elements(s.N, s.K, DType::bf16)));
  for (int64_t n = 0; n < s.N; ++n)
    for (int64_t k = 0; k < s.K; ++k) pairs[pair_index(n, k, s.K)] = w[n * s.K + k];
  Floats want(s.M * s.N);
  best().linear_forward(no_threads(), want.data(), s.N, x.data(), s.K, pairs.data(), s.M, s.N, s.K, false);
  const Device<bf16> in(x), weight(w);
  const Device<float> y(want.size());
  cuda::linear_forward(no_threads(), y.data(), s.N, in.data(), s.K, weight.data(), s.M, s.N, s.K, false);
  CHECK_ALL_NEAR(y.values(), doubles(want), kNearTheCpu);
}

TEST(cuda_linear_rows_do_not_depend_on_their_number) {
  const int64_t N = 72, K = 200;
  const Bf16s x = rounded(random_floats(130 * K, 1)), w = rounded(random_floats(N * K, 2));
  const Device<bf16> weight(w);
  const auto forward = [&](int64_t first, int64_t M) {
    const Device<bf16> in(Bf16s(x.begin() + first * K, x.begin() + (first + M) * K));
    const Device<float> y(static_cast<size_t>(M * N));
    cuda::linear_forward(no_threads(), y.data(), N, in.data(), K, weight.data(), M, N, K, false);
    return y.values();
  };
  const Floats all = forward(0, 130);  // wide tiles
  for (const int64_t M : {1, 16, 20, 40, 64}) CHECK_BITS(forward(65, M), slice(all, 65 * N, M * N));
}

template <class D>
void backward_is_the_chain(int64_t gap) {
  for (const Shape s : kShapes) {
    const int64_t lddy = s.N + gap, ldx = s.K + gap;
    const std::vector<D> dy = typed<D>(random_floats(s.M * lddy, 1));
    const Bf16s x = rounded(random_floats(s.M * ldx, 2));
    const Floats start = random_floats(s.N * s.K, 3), ds = as_bf16(plain(dy)), xs = widened(x);
    Floats want(start.size());
    for (int64_t n = 0; n < s.N; ++n)
      for (int64_t k = 0; k < s.K; ++k)
        want[n * s.K + k] = chain(
            start[n * s.K + k], s.M, [&](int64_t m) { return ds[m * lddy + n]; }, [&](int64_t m) { return xs[m * ldx + k]; });
    const Device<float> dw(start);
    const Device<D> d(dy);
    const Device<bf16> in(x);
    cuda::linear_backward_weight(no_threads(), dw.data(), d.data(), lddy, in.data(), ldx, s.M, s.N, s.K);
    CHECK_CHAIN(dw.values(), want);
  }
}

TEST(cuda_linear_backward_weight_bf16_is_a_chain_of_matrix_steps) {
  backward_is_the_chain<bf16>(8);
  backward_is_the_chain<float>(1);
}

template <class E>
void weights_turn() {
  const int64_t N = 70, K = 45, first = 32, count = 38;
  const std::vector<E> w = typed<E>(random_floats(N * K, 1));
  std::vector<E> want(count * K);
  for (int64_t n = 0; n < count; ++n)
    for (int64_t k = 0; k < K; ++k) want[k * count + n] = w[(first + n) * K + k];
  const Device<E> in(w), out(want.size());
  cuda::weight_transpose(no_threads(), out.data(), in.data(), first, count, K);
  CHECK_BITS(plain(out.values()), plain(want));
}

TEST(cuda_weights_are_turned_and_rounded) {
  weights_turn<float>();
  weights_turn<bf16>();
  const Floats master = random_floats(2050, 2);
  const Device<float> from(master);
  const Device<bf16> to(master.size());
  cuda::weight_round(no_threads(), to.data(), from.data(), 2050, true);
  CHECK_BITS(widened(to.values()), as_bf16(master));
}

}  // namespace
}  // namespace zazen::test

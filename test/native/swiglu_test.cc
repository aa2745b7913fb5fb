// SwiGLU against a reference in double; gradients against central differences of that reference.
#include "support.h"

namespace zazen::test {
namespace {

Doubles reference(const Doubles& gate, const Doubles& up) {
  Doubles y(gate.size());
  for (size_t i = 0; i < y.size(); ++i) y[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
  return y;
}

Floats forward(const Kernels& k, ThreadPool& pool, const Floats& gate, const Floats& up, int64_t T, int64_t I) {
  Floats y(gate.size());
  k.swiglu_forward(pool, y.data(), gate.data(), up.data(), T, I);
  return y;
}

TEST(swiglu_forward_matches_the_reference) {
  ThreadPool pool(2);
  for (const int64_t I : {1, 7, 16, 33, 256}) {
    const Floats gate = random_floats(11 * I, 1, -12, 12), up = random_floats(11 * I, 2);
    CHECK_ALL_NEAR(forward(best(), pool, gate, up, 11, I), reference(doubles(gate), doubles(up)), 1e-6);
  }
}

TEST(swiglu_backward_matches_differences) {
  ThreadPool pool(2);
  for (const int64_t I : {1, 7, 33}) {
    const Floats gate = random_floats(5 * I, 3, -6, 6), up = random_floats(5 * I, 4), dy = random_floats(5 * I, 5);
    Floats dgate = gate, dup = up;
    best().swiglu_backward(pool, dgate.data(), dup.data(), dy.data(), 5, I);
    const Doubles want_gate =
        numeric_gradient(doubles(gate), [&](const Doubles& g) { return dot(reference(g, doubles(up)), dy); });
    const Doubles want_up =
        numeric_gradient(doubles(up), [&](const Doubles& u) { return dot(reference(doubles(gate), u), dy); });
    CHECK_ALL_NEAR(dgate, want_gate, 2e-6);
    CHECK_ALL_NEAR(dup, want_up, 2e-6);
  }
}

TEST(swiglu_stays_finite_far_out) {
  ThreadPool pool(1);
  const Floats gate = {-1000.0f, -90.0f, -0.0f, 90.0f, 1000.0f}, up(5, 2.0f), dy(5, 1.0f);
  CHECK_ALL_NEAR(forward(best(), pool, gate, up, 1, 5), (Doubles{0, 0, 0, 180, 2000}), 1e-6);
  Floats dgate = gate, dup = up;
  best().swiglu_backward(pool, dgate.data(), dup.data(), dy.data(), 1, 5);
  CHECK_ALL_NEAR(dgate, (Doubles{0, 0, 1, 2, 2}), 1e-6);
}

TEST(swiglu_has_the_same_bits_everywhere) {
  constexpr int64_t T = 150, I = 131;
  const Floats gate = random_floats(T * I, 6, -12, 12), up = random_floats(T * I, 7), dy = random_floats(T * I, 8);
  const Floats all = SAME_EVERYWHERE([&](const Kernels& k, ThreadPool& pool) {
    Floats result = forward(k, pool, gate, up, T, I), dgate = gate, dup = up;
    k.swiglu_backward(pool, dgate.data(), dup.data(), dy.data(), T, I);
    append(result, dgate);
    append(result, dup);
    return result;
  });
  // A row alone starts at another lane than in the batch, which must not matter.
  ThreadPool pool(1);
  for (int64_t t = 0; t < T; t += 7)
    CHECK_BITS(forward(best(), pool, slice(gate, t * I, I), slice(up, t * I, I), 1, I), slice(all, t * I, I));
}

}  // namespace
}  // namespace zazen::test

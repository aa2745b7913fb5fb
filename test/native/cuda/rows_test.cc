// Ops on rows and flat arrays on the emulated device: their bits are the CPU's, but for sums over tokens, which are cut into
// segments there.
#include "native/cuda/device.h"

namespace zazen::test {
namespace {

// Lengths around a vector, a block's piece, and odd ones.
const int64_t kLengths[] = {1, 7, 8, 33, 2047, 2048, 4103};
const int64_t kOffsets[] = {0, 1};  // from an address of 16 bytes

template <class E>
void swiglu_matches() {
  for (const int64_t n : kLengths)
    for (const int64_t offset : kOffsets) {
      const std::vector<E> gates = typed<E>(random_floats(n, 1, -6, 6)), ups = typed<E>(random_floats(n, 2));
      const Floats dy = random_floats(n, 3);
      std::vector<E> y(gates.size()), dgate = gates, dup = ups;
      best().swiglu_forward(no_threads(), y.data(), gates.data(), ups.data(), 1, n);
      best().swiglu_backward(no_threads(), dgate.data(), dup.data(), dy.data(), 1, n);
      const Shifted<E> gate(gates, offset), up(ups, offset), out(y, offset);
      const Device<float> d(dy);
      cuda::swiglu_forward(no_threads(), out.data(), gate.data(), up.data(), 1, n);
      cuda::swiglu_backward(no_threads(), gate.data(), up.data(), d.data(), 1, n);
      CHECK_BITS(plain(out.values()), plain(y));
      CHECK_BITS(plain(gate.values()), plain(dgate));
      CHECK_BITS(plain(up.values()), plain(dup));
    }
}
TEST(cuda_swiglu_has_the_bits_of_the_cpu) {
  swiglu_matches<float>();
  swiglu_matches<bf16>();
}

template <class E>
void rope_matches() {
  for (const int64_t D : {2, 8, 16, 24, 64, 128})
    for (const int64_t heads : {1, 3, 40}) {
      const Ints positions = random_ints(5, 1, 31);
      const Floats cos = random_floats(31 * D / 2, 2), sin = random_floats(31 * D / 2, 3);
      const std::vector<E> x = typed<E>(random_floats(5 * heads * D, 4));
      for (const float sign : {1.0f, -1.0f}) {
        std::vector<E> want = x;
        best().rope(no_threads(), want.data(), positions.data(), cos.data(), sin.data(), 5, heads, D, sign);
        const Device<E> got(x);
        const Device<float> c(cos), s(sin);
        const Device<int32_t> p(positions);
        cuda::rope(no_threads(), got.data(), p.data(), c.data(), s.data(), 5, heads, D, sign);
        CHECK_BITS(plain(got.values()), plain(want));
      }
    }
}
TEST(cuda_rope_has_the_bits_of_the_cpu) {
  rope_matches<float>();
  rope_matches<bf16>();
}

template <class Y, class B>
void bias_matches() {
  for (const int64_t N : kLengths) {
    const std::vector<Y> y = typed<Y>(random_floats(3 * N, 1));
    const std::vector<B> b = typed<B>(random_floats(N, 2));
    std::vector<Y> want = y;
    best().bias_forward(no_threads(), want.data(), b.data(), 3, N);
    const Device<Y> got(y);
    const Device<B> bias(b);
    cuda::bias_forward(no_threads(), got.data(), bias.data(), 3, N);
    CHECK_BITS(plain(got.values()), plain(want));
  }
}
TEST(cuda_bias_has_the_bits_of_the_cpu) {
  bias_matches<float, float>();
  bias_matches<bf16, bf16>();
  bias_matches<float, bf16>();
}

TEST(cuda_bias_backward_sums_tokens) {
  for (const int64_t T : {1, 128, 129, 300}) {
    const Floats dy = random_floats(T * 70, 1), start = random_floats(70, 2);
    Floats want = start;
    best().bias_backward(no_threads(), want.data(), dy.data(), T, 70);
    const Device<float> d(dy), db(start);
    cuda::bias_backward(no_threads(), db.data(), d.data(), T, 70);
    CHECK_ALL_NEAR(db.values(), doubles(want), 1e-5);  // hundreds of f32 in another order
  }
}

template <class E>
void lookup_matches() {
  for (const int64_t H : {1, 24, 130, 2056}) {
    const std::vector<E> table = typed<E>(random_floats(11 * H, 1));
    const Ints ids = random_ints(9, 2, 11);
    const EmbeddingTable host{{table.data(), kTypeOf<E>}, false, 11, H};
    Floats want(9 * H);
    best().embedding_forward(no_threads(), want.data(), host, ids.data(), 9);
    const Device<E> data(table);
    const Device<int32_t> d_ids(ids);
    const Device<float> got(want.size());
    cuda::embedding_forward(no_threads(), got.data(), {{data.data(), kTypeOf<E>}, false, 11, H}, d_ids.data(), 9);
    CHECK_BITS(got.values(), want);
  }
}
TEST(cuda_embedding_has_the_bits_of_the_cpu) {
  lookup_matches<float>();
  lookup_matches<bf16>();
  CHECK_THROWS_CODE(cuda::embedding_forward(no_threads(), nullptr, {{}, true, 11, 8}, nullptr, 1), "UNSUPPORTED");
}

TEST(cuda_embedding_backward_has_the_bits_of_the_cpu) {
  for (const int64_t H : {1, 24, 2056})
    for (const int32_t vocab : {2, 40}) {
      const int64_t T = 70;
      const Floats table = random_floats(vocab * H, 1), dx = random_floats(T * H, 2);
      const Ints ids = random_ints(T, 3, vocab);
      Floats want = table;
      best().embedding_backward(no_threads(), want.data(), dx.data(), ids.data(), T, H);
      const Device<float> got(table), d(dx);
      const Device<int32_t> d_ids(ids);
      cuda::embedding_backward(no_threads(), got.data(), d.data(), d_ids.data(), T, H);
      CHECK_BITS(got.values(), want);
    }
}

template <class E>
void rows_move() {
  const Ints rows = {4, 0, 6, 1};
  const Device<int32_t> d_rows(rows);
  for (const int64_t H : {1, 7, 8, 600}) {
    const std::vector<E> x = typed<E>(random_floats(7 * H, 1));
    std::vector<E> want(4 * H);
    best().gather_rows(no_threads(), want.data(), x.data(), rows.data(), 4, H);
    const Device<E> in(x), out(want.size());
    cuda::gather_rows(no_threads(), out.data(), in.data(), d_rows.data(), 4, H);
    CHECK_BITS(plain(out.values()), plain(want));
  }
}
TEST(cuda_rows_are_gathered_and_scattered) {
  rows_move<float>();
  rows_move<bf16>();
  const Ints rows = {2, 0};
  const Device<int32_t> d_rows(rows);
  const Floats dout = random_floats(2 * 5, 2);
  Floats want = random_floats(3 * 5, 3);
  const Device<float> dx(want), d(dout);
  best().scatter_rows(no_threads(), want.data(), dout.data(), rows.data(), 2, 5);
  cuda::scatter_rows(no_threads(), dx.data(), d.data(), d_rows.data(), 2, 5);
  CHECK_BITS(dx.values(), want);
}

TEST(cuda_add_and_scale_have_the_bits_of_the_cpu) {
  for (const int64_t n : kLengths)
    for (const int64_t offset : kOffsets) {
      const Floats x = random_floats(n, 1), y = random_floats(n, 2);
      Floats sum = x, scaled(x.size());
      Bf16s short_scaled(x.size());
      best().add(no_threads(), sum.data(), y.data(), n);
      best().scale(no_threads(), scaled.data(), y.data(), 0.3f, n);
      best().scale(no_threads(), short_scaled.data(), y.data(), 0.3f, n);
      const Shifted<float> dx(x, offset), dy(y, offset), out(x, offset);
      const Device<bf16> short_out(x.size());
      cuda::add(no_threads(), dx.data(), dy.data(), n);
      cuda::scale(no_threads(), out.data(), dy.data(), 0.3f, n);
      cuda::scale(no_threads(), short_out.data(), dy.data(), 0.3f, n);
      CHECK_BITS(dx.values(), sum);
      CHECK_BITS(out.values(), scaled);
      CHECK_BITS(widened(short_out.values()), widened(short_scaled));
    }
}

TEST(cuda_sum_squares_has_the_bits_of_the_cpu) {
  for (const int64_t n : {0, 1, 15, 17, 4095, 4096, 4097, 70003}) {
    const Floats x = random_floats(n, 1);
    Doubles scratch(static_cast<size_t>(ceil_div(n, 4096)));
    const double want = best().sum_squares(no_threads(), x.data(), n, scratch.data());
    const Device<float> dx(x);
    const Device<double> room(scratch.size());
    CHECK(cuda::sum_squares(no_threads(), dx.data(), n, room.data()) == want);
  }
}

}  // namespace
}  // namespace zazen::test

// AdamW on the emulated device: its bits are the CPU's, in every type of weights and moments.
#include "kernels/quantization.h"
#include "native/cuda/device.h"

namespace zazen::test {
namespace {

// Lengths around a vector, a block of moments, a block's piece, and odd ones.
const int64_t kLengths[] = {1, 7, 8, 33, 256, 2047, 2048, 4103};
const int64_t kOffsets[] = {0, 1};  // from an address of 16 bytes
constexpr int64_t kSteps = 3;

AdamwArgs step_args(int64_t step) {
  AdamwArgs args{3e-3, 0.9, 0.999, 1e-8, 0.1, 0, 0, 0.25, step, (int64_t{1} << 33) + 5};
  args.bias1 = 1 - std::pow(args.beta1, static_cast<double>(step));
  args.bias2 = 1 - std::pow(args.beta2, static_cast<double>(step));
  return args;
}
Floats gradient(int64_t n, int64_t step) { return random_floats(n, 10 + static_cast<uint64_t>(step)); }

template <class W, class M>
void steps_match() {
  for (const int64_t n : kLengths)
    for (const int64_t offset : kOffsets) {
      std::vector<W> w = typed<W>(random_floats(n, 1));
      Floats g(w.size());
      std::vector<M> m(w.size()), v(w.size());
      const Shifted<W> dw(w, offset);
      const Shifted<float> dg(g, offset);
      const Shifted<M> dm(m, offset), dv(v, offset);
      for (int64_t step = 1; step <= kSteps; ++step) {
        g = gradient(n, step);
        cuda::upload(dg.data(), g.data(), g.size() * sizeof(float));
        best().adamw(no_threads(), w.data(), g.data(), m.data(), v.data(), n, step_args(step));
        cuda::adamw(no_threads(), dw.data(), dg.data(), dm.data(), dv.data(), n, step_args(step));
      }
      CHECK_BITS(plain(dw.values()), plain(w));
      CHECK_BITS(dg.values(), Floats(g.size()));
      CHECK_BITS(plain(dm.values()), plain(m));
      CHECK_BITS(plain(dv.values()), plain(v));
    }
}
TEST(cuda_adamw_has_the_bits_of_the_cpu) {
  steps_match<float, float>();
  steps_match<float, bf16>();
  steps_match<bf16, float>();
  steps_match<bf16, bf16>();
}

// The device's own NaN has all ones below its sign, to which noise must not be added.
TEST(cuda_adamw_keeps_nan_when_it_rounds) {
  const Floats g(9, std::bit_cast<float>(0x7FFFFFFFu));
  const Device<float> dg(g);
  const Device<bf16> w(rounded(Floats(9, 1.0f))), m(Bf16s(9)), v(Bf16s(9));
  cuda::adamw(no_threads(), w.data(), dg.data(), m.data(), v.data(), 9, step_args(1));
  for (const Device<bf16>* of : {&w, &m, &v})
    for (const float value : widened(of->values())) CHECK(std::isnan(value));
}

template <class W>
void steps_in_8_bits_match(const std::vector<int64_t>& lengths, bool spoiled) {
  for (const int64_t n : lengths)
    for (const int64_t offset : kOffsets) {
      const auto blocks = static_cast<size_t>(ceil_div(n, kMomentBlock));
      std::vector<W> w = typed<W>(random_floats(n, 1));
      Floats g(w.size()), m_largest(blocks), v_largest(blocks);
      std::vector<uint8_t> m(w.size(), DynamicMap::kZero), v(w.size());
      const Shifted<W> dw(w, offset);
      const Shifted<float> dg(g, offset);
      const Shifted<uint8_t> dm(m, offset), dv(v, offset);
      const Device<float> dm_largest(m_largest), dv_largest(v_largest);
      const BlockMoments host{m.data(), v.data(), m_largest.data(), v_largest.data()};
      const BlockMoments device{dm.data(), dv.data(), dm_largest.data(), dv_largest.data()};
      for (int64_t step = 1; step <= kSteps; ++step) {
        g = gradient(n, step);
        for (int64_t i = 0; i < n; ++i) g[i] = g[i] * g[i] * g[i] * g[i] * g[i];  // over some decades
        if (spoiled) g[static_cast<size_t>(n) / 2] = kNan;
        cuda::upload(dg.data(), g.data(), g.size() * sizeof(float));
        best().adamw_8bit(no_threads(), w.data(), g.data(), host, n, step_args(step));
        cuda::adamw_8bit(no_threads(), dw.data(), dg.data(), device, n, step_args(step));
      }
      CHECK(dm.values() == m && dv.values() == v);
      if (spoiled) continue;  // the bits of a NaN are the device's own
      CHECK_BITS(plain(dw.values()), plain(w));
      CHECK_BITS(dg.values(), Floats(g.size()));
      CHECK_BITS(dm_largest.values(), m_largest);
      CHECK_BITS(dv_largest.values(), v_largest);
    }
}
TEST(cuda_adamw_8bit_has_the_bits_of_the_cpu) {
  const std::vector<int64_t> lengths(std::begin(kLengths), std::end(kLengths));
  steps_in_8_bits_match<float>(lengths, false);
  steps_in_8_bits_match<bf16>(lengths, false);
  steps_in_8_bits_match<float>(lengths, true);
  steps_in_8_bits_match<float>({17000}, false);  // more than a thread block takes
}

template <class T>
void nf4_matches() {
  for (const int64_t n : kLengths)
    for (const int64_t offset : kOffsets) {
      std::vector<T> x = typed<T>(random_floats(n, 1, -2, 2)), y(x.size());
      if (n > 2047) std::fill(x.begin() + 128, x.begin() + 192, T{});
      std::vector<uint8_t> codes(static_cast<size_t>(ceil_div(n, 2)));
      Floats largest(static_cast<size_t>(ceil_div(n, kNf4Block)));
      best().nf4_quantize(no_threads(), codes.data(), largest.data(), x.data(), n);
      best().nf4_dequantize(no_threads(), y.data(), codes.data(), largest.data(), n);
      const Shifted<T> dx(x, offset), dy(y, offset);
      const Shifted<uint8_t> d_codes(std::vector<uint8_t>(codes.size()), offset);
      const Device<float> d_largest(largest.size());
      cuda::nf4_quantize(no_threads(), d_codes.data(), d_largest.data(), dx.data(), n);
      CHECK(d_codes.values() == codes);
      CHECK_BITS(d_largest.values(), largest);
      cuda::nf4_dequantize(no_threads(), dy.data(), d_codes.data(), d_largest.data(), n);
      CHECK_BITS(plain(dy.values()), plain(y));
    }
}
TEST(cuda_nf4_has_the_bits_of_the_cpu) {
  nf4_matches<float>();
  nf4_matches<bf16>();
}

}  // namespace
}  // namespace zazen::test

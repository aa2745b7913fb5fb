// 4-bit NormalFloat: levels against quantiles of the normal distribution, codes against the nearest level, and how they lie.
#include <algorithm>

#include "bf16.h"
#include "kernels/quantization.h"

namespace zazen::test {
namespace {

// The x with Phi(x) = p, by bisection.
double quantile(double p) {
  double low = -10, high = 10;
  for (int i = 0; i < 100; ++i) {
    const double middle = (low + high) / 2;
    (std::erfc(-middle / std::sqrt(2.0)) / 2 < p ? low : high) = middle;
  }
  return low;
}

// Dettmers et al. 2023, appendix E: evenly spaced probabilities, eight below a half and seven above it.
TEST(nf4_levels_are_quantiles) {
  constexpr double kOffset = 0.9677083;
  Doubles want = {0};
  for (int i = 0; i < 8; ++i) want.push_back(-quantile(kOffset + (0.5 - kOffset) * i / 7));
  for (int i = 0; i < 8; ++i) want.push_back(quantile(kOffset + (0.5 - kOffset) * i / 8));
  std::sort(want.begin(), want.end());
  want.erase(std::unique(want.begin(), want.end(), [](double a, double b) { return std::fabs(a - b) < 1e-6; }), want.end());
  const double top = want.back();
  for (double& level : want) level /= top;
  CHECK_ALL_NEAR(Floats(std::begin(kNf4Map.levels), std::end(kNf4Map.levels)), want, 2e-7);
}

struct Codes {
  std::vector<uint8_t> codes;
  Floats largest;
  explicit Codes(int64_t n)
      : codes(static_cast<size_t>(ceil_div(n, 2))), largest(static_cast<size_t>(ceil_div(n, kNf4Block))) {}
  int at(int64_t i) const { return codes[i / 2] >> (i % 2 ? 0 : 4) & 0xF; }
};
template <class T>
Codes quantized(const Kernels& k, ThreadPool& pool, const std::vector<T>& x) {
  Codes c(static_cast<int64_t>(x.size()));
  k.nf4_quantize(pool, c.codes.data(), c.largest.data(), x.data(), static_cast<int64_t>(x.size()));
  return c;
}
Floats back(const Kernels& k, ThreadPool& pool, const Codes& c, int64_t n) {
  Floats x(static_cast<size_t>(n));
  k.nf4_dequantize(pool, x.data(), c.codes.data(), c.largest.data(), n);
  return x;
}

TEST(nf4_takes_the_nearest_level) {
  ThreadPool pool(2);
  for (const int64_t n : {1, 2, 63, 64, 65, 1000, 20001}) {
    const Floats x = random_floats(n, 1, -3, 3);
    const Codes c = quantized(best(), pool, x);
    for (int64_t i = 0; i < n; ++i) {
      const int64_t begin = i / kNf4Block * kNf4Block, end = std::min(n, begin + kNf4Block);
      float top = 0;
      for (int64_t j = begin; j < end; ++j) top = std::max(top, std::fabs(x[j]));
      CHECK(c.largest[i / kNf4Block] == top);
      double least = 9;
      for (const float level : kNf4Map.levels) least = std::min(least, std::fabs(static_cast<double>(level * top - x[i])));
      CHECK(std::fabs(static_cast<double>(kNf4Map.levels[c.at(i)] * top - x[i])) <= least + 1e-6);
    }
    if (n % 2 == 1) CHECK((c.codes.back() & 0xF) == 7);  // the code of zero
    const Floats y = back(best(), pool, c, n);
    for (int64_t i = 0; i < n; ++i) CHECK(y[i] == kNf4Map.levels[c.at(i)] * c.largest[i / kNf4Block]);
  }
}

TEST(nf4_keeps_its_own_numbers) {
  ThreadPool pool(1);
  const Floats levels(std::begin(kNf4Map.levels), std::end(kNf4Map.levels));
  const Codes c = quantized(best(), pool, levels);
  CHECK((c.codes == std::vector<uint8_t>{0x01, 0x23, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF}));
  CHECK_BITS(back(best(), pool, c, 16), levels);
}

TEST(nf4_has_the_same_bits_everywhere) {
  for (const bool short_type : {false, true})
    SAME_EVERYWHERE([&](const Kernels& k, ThreadPool& pool) {
      const Floats x = random_floats(70001, 2, -1, 1);
      const Codes c = short_type ? quantized(k, pool, rounded(x)) : quantized(k, pool, x);
      Floats all = back(k, pool, c, 70001);
      append(all, c.largest);
      Bf16s out(x.size());
      k.nf4_dequantize(pool, out.data(), c.codes.data(), c.largest.data(), 70001);
      append(all, widened(out));
      return all;
    });
}

TEST(nf4_of_zeros_and_of_what_is_no_number) {
  ThreadPool pool(1);
  Floats x(3 * kNf4Block);
  CHECK_BITS(back(best(), pool, quantized(best(), pool, x), 3 * kNf4Block), x);
  x[kNf4Block + 1] = kNan;
  const Floats y = back(best(), pool, quantized(best(), pool, x), 3 * kNf4Block);
  for (int64_t i = 0; i < 3 * kNf4Block; ++i) CHECK(std::isnan(y[i]) == (i / kNf4Block == 1));
}

}  // namespace
}  // namespace zazen::test

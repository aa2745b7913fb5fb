// AdamW with what is kept in fewer bits: bf16 weights without a master, and moments in 8 bits.
#include <algorithm>

#include "bf16.h"
#include "kernels/quantization.h"

namespace zazen::test {
namespace {

AdamwArgs args_of(int64_t step, int64_t first = 0) {
  AdamwArgs args{3e-3, 0.9, 0.999, 1e-8, 0.1, 0, 0, 0.25, step, first};
  args.bias1 = 1 - std::pow(args.beta1, static_cast<double>(step));
  args.bias2 = 1 - std::pow(args.beta2, static_cast<double>(step));
  return args;
}
Floats gradient(int64_t n, int64_t step) { return random_floats(n, 100 + static_cast<uint64_t>(step)); }

// Moments in 8 bits, zero at first.
struct Blocks {
  std::vector<uint8_t> m, v;
  Floats m_largest, v_largest;
  explicit Blocks(int64_t n)
      : m(static_cast<size_t>(n), DynamicMap::kZero),
        v(static_cast<size_t>(n)),
        m_largest(static_cast<size_t>(ceil_div(n, kMomentBlock))),
        v_largest(m_largest.size()) {}
  BlockMoments from(int64_t i) {
    const int64_t block = i / kMomentBlock;
    return {m.data() + i, v.data() + i, m_largest.data() + block, v_largest.data() + block};
  }
  Floats values() const {
    Floats all;
    for (size_t i = 0; i < m.size(); ++i) all.push_back(kSignedMap.values[m[i]] * m_largest[i / kMomentBlock]);
    for (size_t i = 0; i < v.size(); ++i) all.push_back(kUnsignedMap.values[v[i]] * v_largest[i / kMomentBlock]);
    return all;
  }
};

// bf16 weights, then f32 moments, after five steps, in two pieces.
Floats short_weights(const Kernels& k, ThreadPool& pool, int64_t n, int64_t cut, bool panels = false) {
  Bf16s w = rounded(random_floats(n, 1));
  Floats m(w.size()), v(w.size());
  for (int64_t step = 1; step <= 5; ++step) {
    Floats g = gradient(n, step);
    AdamwArgs args = args_of(step), rest = args_of(step, cut);
    args.panels = rest.panels = panels;
    k.adamw(pool, w.data(), g.data(), m.data(), v.data(), cut, args);
    k.adamw(pool, w.data() + cut, g.data() + cut, m.data() + cut, v.data() + cut, n - cut, rest);
  }
  Floats all = widened(w);
  append(all, m);
  append(all, v);
  return all;
}

TEST(adamw_rounds_bf16_weights_alike_everywhere_and_however_it_is_cut) {
  const Floats whole = SAME_EVERYWHERE([&](const Kernels& k, ThreadPool& pool) { return short_weights(k, pool, 40003, 0); });
  ThreadPool pool(2);
  CHECK_BITS(short_weights(best(), pool, 40003, 16384), whole);
}

// Masters in f32 would have moved the same way, but for five roundings.
TEST(adamw_moves_bf16_weights_as_it_moves_masters) {
  constexpr int64_t kN = 3000;
  ThreadPool pool(2);
  Floats w = as_bf16(random_floats(kN, 1)), m(kN), v(kN);
  for (int64_t step = 1; step <= 5; ++step) {
    Floats g = gradient(kN, step);
    best().adamw(pool, w.data(), g.data(), m.data(), v.data(), kN, args_of(step));
  }
  const Floats got = short_weights(best(), pool, kN, 0);
  CHECK_BITS(slice(got, kN, kN), m);
  CHECK_BITS(slice(got, 2 * kN, kN), v);
  for (int64_t i = 0; i < kN; ++i) CHECK(std::fabs(got[i] - w[i]) <= 5 * std::fabs(w[i]) / 128 + 1e-4);
}

// Decay by 3e-4, a 13th of a unit in the last place, would not move a weight at all if it were rounded to nearest.
TEST(adamw_rounds_bf16_weights_without_bias) {
  constexpr int64_t kN = 20000;
  constexpr int64_t kSteps = 200;
  ThreadPool pool(2);
  Bf16s w(kN, f32_to_bf16(1.0f)), m(kN), v(kN);
  Floats g(kN);
  for (int64_t step = 1; step <= kSteps; ++step) {
    best().adamw(pool, w.data(), g.data(), m.data(), v.data(), kN, args_of(step));
    if (step == 1)
      for (const bf16 value : w) CHECK(value.bits == 0x3F80 || value.bits == 0x3F7F);
  }
  double mean = 0;
  for (const float value : widened(w)) mean += static_cast<double>(value) / kN;
  CHECK_NEAR(mean, std::pow(1 - 3e-4, kSteps), 1e-3);
}

TEST(adamw_finds_bf16_weights_in_panels_of_pairs) {
  constexpr int64_t kRows = 6, kN = kRows * kPanel;  // one panel of six inputs
  ThreadPool pool(1);
  Bf16s rows = rounded(random_floats(kN, 1)), pairs(rows.size());
  const auto place = [](int64_t i) { return pair_index(i % kPanel, i / kPanel, kRows); };
  for (int64_t i = 0; i < kN; ++i) pairs[place(i)] = rows[i];
  Floats g = gradient(kN, 1), same = g, m(kN), v(kN), m2(kN), v2(kN);
  AdamwArgs args = args_of(1);
  best().adamw(pool, rows.data(), g.data(), m.data(), v.data(), kN, args);
  args.panels = true;
  best().adamw(pool, pairs.data(), same.data(), m2.data(), v2.data(), kN, args);
  CHECK_BITS(m2, m);
  for (int64_t i = 0; i < kN; ++i) CHECK(pairs[place(i)].bits == rows[i].bits);
}

// Whatever its bits: noise that is added to all ones would make it zero.
TEST(adamw_keeps_nan_when_it_rounds) {
  ThreadPool pool(1);
  for (const uint32_t bits : {0x7FFFFFFFu, 0xFFFFFFFFu, 0x7FC00000u}) {
    Floats g(300, std::bit_cast<float>(bits));
    Bf16s w(300, f32_to_bf16(1.0f)), m(300), v(300);
    best().adamw(pool, w.data(), g.data(), m.data(), v.data(), 300, args_of(1));
    for (const Bf16s* of : {&w, &m, &v})
      for (const float value : widened(*of)) CHECK(std::isnan(value));
  }
}

// ---- 8 bits

TEST(dynamic_map_has_the_numbers_of_the_paper) {
  // Made with PyTorch: middles of linspace(0.1, 1, 2^decade + 1) in f32, times powers of ten.
  const std::pair<int, float> with_sign[] = {{0, -0.992968738f}, {1, -0.978906274f},    {100, -0.00746874977f}, {127, 0.0f},
                                             {128, 5.5e-07f},    {129, 3.25000019e-6f}, {200, 0.233593747f},    {255, 1.0f}};
  const std::pair<int, float> without[] = {
      {0, 0.0f},           {1, 3.2500003e-07f}, {2, 7.7499999e-07f}, {100, 0.0627343804f}, {126, 0.0992968753f},
      {127, 0.103515625f}, {254, 0.996484399f}, {255, 1.0f}};
  for (const auto& [code, value] : with_sign) CHECK(std::fabs(kSignedMap.values[code] - value) <= 1e-6f * std::fabs(value));
  for (const auto& [code, value] : without) CHECK(std::fabs(kUnsignedMap.values[code] - value) <= 1e-6f * std::fabs(value));
  CHECK(std::is_sorted(std::begin(kSignedMap.values), std::end(kSignedMap.values)));
  CHECK(std::is_sorted(std::begin(kUnsignedMap.values), std::end(kUnsignedMap.values)));
}

// Distance from x to the nearest number of a map.
double nearest(const DynamicMap& map, double x) {
  double least = 2;
  for (const float value : map.values) least = std::min(least, std::fabs(static_cast<double>(value) - x));
  return least;
}

// From zero moments a step makes m = 0.1 g and v = 0.001 g^2 (of scaled gradients), which are known without it.
TEST(adamw_8bit_keeps_the_nearest_numbers) {
  constexpr int64_t kN = 3 * kMomentBlock + 77;
  ThreadPool pool(1);
  Floats g(kN), w(kN);
  for (int64_t i = 0; i < kN; ++i)  // over nine decades
    g[i] = std::pow(10.0f, -9 * random_floats(kN, 1, 0, 1)[i]) * (i % 2 ? 1.0f : -1.0f);
  AdamwArgs args = args_of(1);
  args.gradient_scale = 1;
  Blocks b(kN);
  const Floats start = g;
  best().adamw_8bit(pool, w.data(), g.data(), b.from(0), kN, args);
  for (int64_t block = 0; block < ceil_div(kN, kMomentBlock); ++block) {
    const int64_t begin = block * kMomentBlock, end = std::min(kN, begin + kMomentBlock);
    double top = 0;
    for (int64_t i = begin; i < end; ++i) top = std::max(top, std::fabs(static_cast<double>(start[i])));
    CHECK_NEAR(b.m_largest[block] / (0.1 * top), 1, 1e-5);
    CHECK_NEAR(b.v_largest[block] / (0.001 * top * top), 1, 1e-5);
    for (int64_t i = begin; i < end; ++i) {
      const double mean = 0.1 * static_cast<double>(start[i]) / static_cast<double>(b.m_largest[block]);
      const double square = 0.001 * std::pow(static_cast<double>(start[i]), 2) / static_cast<double>(b.v_largest[block]);
      const double slack = 1e-6;  // of f32 near the middle between two numbers
      CHECK(std::fabs(kSignedMap.values[b.m[i]] - mean) <= nearest(kSignedMap, mean) + slack * std::fabs(mean));
      CHECK(std::fabs(kUnsignedMap.values[b.v[i]] - square) <=
            std::max(nearest(kUnsignedMap, square) + slack * square, 3.3e-7));
      CHECK(b.v[i] > 0 && (b.m[i] >= DynamicMap::kZero) == (i % 2 == 1 || b.m[i] == DynamicMap::kZero));
    }
  }
}

// Weights, then moments, after ten steps.
Floats ten_steps_in_8_bits(const Kernels& k, ThreadPool& pool, int64_t n, int64_t cut) {
  Floats w = random_floats(n, 1);
  Blocks b(n);
  for (int64_t step = 1; step <= 10; ++step) {
    Floats g = gradient(n, step);
    k.adamw_8bit(pool, w.data(), g.data(), b.from(0), cut, args_of(step));
    k.adamw_8bit(pool, w.data() + cut, g.data() + cut, b.from(cut), n - cut, args_of(step, cut));
  }
  append(w, b.values());
  return w;
}

TEST(adamw_8bit_has_the_same_bits_everywhere_and_however_it_is_cut) {
  const Floats whole =
      SAME_EVERYWHERE([&](const Kernels& k, ThreadPool& pool) { return ten_steps_in_8_bits(k, pool, 20003, 0); });
  ThreadPool pool(2);
  CHECK_BITS(ten_steps_in_8_bits(best(), pool, 20003, 8192), whole);
}

// A step rounds m by at most half a part of the highest decade, 0.9 / 128 of the block's largest, which is below 0.2; the sum
// over ten steps that fade by 0.9 is at most 6.6 of that.
TEST(adamw_8bit_follows_adamw) {
  constexpr double kRounding = 6.6 * 0.2 * 0.9 / 128;
  constexpr int64_t kN = 5000;
  ThreadPool pool(2);
  Floats w = random_floats(kN, 1), m(kN), v(kN);
  const Floats start = w;
  for (int64_t step = 1; step <= 10; ++step) {
    Floats g = gradient(kN, step);
    best().adamw(pool, w.data(), g.data(), m.data(), v.data(), kN, args_of(step));
  }
  const Floats got = ten_steps_in_8_bits(best(), pool, kN, 0);
  double error = 0, moved = 0;
  for (int64_t i = 0; i < kN; ++i) {
    error += std::pow(static_cast<double>(got[i] - w[i]), 2);
    moved += std::pow(static_cast<double>(w[i] - start[i]), 2);
    CHECK_NEAR(got[kN + i], static_cast<double>(m[i]), kRounding);
  }
  CHECK(std::sqrt(error / moved) < 0.02);
}

TEST(adamw_8bit_spoils_a_block_with_nan_and_no_other) {
  constexpr int64_t kN = 3 * kMomentBlock;
  ThreadPool pool(1);
  for (const float bad : {kNan, std::numeric_limits<float>::infinity()}) {
    Floats w(kN), g = gradient(kN, 1);
    g[kMomentBlock + 3] = bad;
    Blocks b(kN);
    best().adamw_8bit(pool, w.data(), g.data(), b.from(0), kN, args_of(1));
    CHECK(std::isfinite(b.m_largest[0]) && std::isnan(b.m_largest[1]) && std::isfinite(b.m_largest[2]));
    CHECK(std::isnan(b.v_largest[1]) && std::isfinite(b.v_largest[2]));
  }
}

TEST(adamw_8bit_without_gradient_keeps_zeros) {
  ThreadPool pool(1);
  Floats w(300, 2.0f), g(300);
  Blocks b(300);
  best().adamw_8bit(pool, w.data(), g.data(), b.from(0), 300, args_of(1));
  CHECK_BITS(b.values(), Floats(600));
  CHECK_BITS(w, Floats(300, 2.0f * static_cast<float>(1 - 3e-4)));
}

TEST(adamw_8bit_takes_bf16_weights) {
  constexpr int64_t kN = 1000;
  ThreadPool pool(1);
  Bf16s w = rounded(random_floats(kN, 1));
  Floats wide = widened(w), g = gradient(kN, 1), same = g;
  Blocks b(kN), of_wide(kN);
  best().adamw_8bit(pool, w.data(), g.data(), b.from(0), kN, args_of(1));
  best().adamw_8bit(pool, wide.data(), same.data(), of_wide.from(0), kN, args_of(1));
  CHECK(b.m == of_wide.m && b.v == of_wide.v);
  for (int64_t i = 0; i < kN; ++i) CHECK(std::fabs(widened(w)[i] - wide[i]) <= std::fabs(wide[i]) / 128);
}

}  // namespace
}  // namespace zazen::test

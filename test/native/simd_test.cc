// The exponentials and the logarithm that kernels use. Tests of kernels compare instruction sets; this one looks at accuracy.
#define ZAZEN_ISA isa_test
#include "support.h"
// The pool's declaration comes before the lanes that use it.
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/simd_transpose.h"

namespace zazen::test {
namespace {

TEST(exp_is_within_two_units_in_the_last_place) {
  double worst = 0;
  for (double x = -87.3; x < 88.2; x += 0.00137) {
    const double want = std::exp(static_cast<double>(static_cast<float>(x)));
    const double got = static_cast<double>(isa_test::exp(static_cast<float>(x)));
    worst = std::fmax(worst, std::fabs(got - want) / want);
  }
  CHECK(worst < 2 * 0x1p-23);
}

TEST(exp_at_the_ends) {
  CHECK(isa_test::exp(0.0f) == 1.0f);
  CHECK(isa_test::exp(-0.0f) == 1.0f);
  CHECK(isa_test::exp(-std::numeric_limits<float>::infinity()) == 0.0f);
  CHECK(isa_test::exp(-100.0f) == 0.0f);
  CHECK(std::isfinite(isa_test::exp(1000.0f)) && isa_test::exp(1000.0f) > 1e38f);
  CHECK(std::isnan(isa_test::exp(kNan)));
}

float exp2(float x) {
  float lane[isa_test::kLanes];
  isa_test::store(lane, isa_test::exp2(isa_test::set1(x)));
  return lane[0];
}

TEST(exp2_is_within_two_units_in_the_last_place) {
  double worst = 0;
  for (double x = -100; x < 0.6; x += 0.00037) {
    const double want = std::exp2(static_cast<double>(static_cast<float>(x)));
    worst = std::fmax(worst, std::fabs(static_cast<double>(exp2(static_cast<float>(x))) - want) / want);
  }
  CHECK(worst < 2 * 0x1p-23);
}

TEST(exp2_at_the_ends) {
  CHECK(exp2(0.0f) == 1.0f);
  CHECK(exp2(-0.0f) == 1.0f);
  CHECK(exp2(-7.0f) == 0x1p-7f);
  CHECK(exp2(-1000.0f) == 0x1p-100f);
  CHECK(exp2(-std::numeric_limits<float>::infinity()) == 0x1p-100f);
  CHECK(std::isnan(exp2(kNan)));
}

TEST(log_shifted_is_the_logarithm_of_a_shifted_number) {
  for (const float shift : {-90.5f, 0.0f, 0.25f, 70.0f})
    for (double x = 0.51; x < 1e7; x *= 1.00317) {
      float lane[isa_test::kLanes];
      isa_test::store(lane, isa_test::log_shifted(isa_test::set1(static_cast<float>(x)), isa_test::set1(shift)));
      const double want = std::log(static_cast<double>(static_cast<float>(x))) + static_cast<double>(shift) * std::log(2.0);
      CHECK_NEAR(lane[15], want, 2 * 0x1p-23);
    }
}

TEST(transpose16_turns_columns_into_rows) {
  const Floats from = random_floats(16 * 20, 7);
  for (const int64_t rows : {1, 15, 16}) {
    Floats to(16 * 18, kNan);
    isa_test::transpose16(to.data(), 18, from.data(), 20, rows);
    for (int64_t i = 0; i < 16; ++i)
      for (int64_t j = 0; j < 16; ++j) CHECK(to[j * 18 + i] == (i < rows ? from[i * 20 + j] : 0.0f));
  }
}

TEST(for_lanes_touches_each_element_once) {
  for (int64_t n = 0; n < 70; ++n) {
    Floats x(static_cast<size_t>(n) + 1, 1.0f);
    isa_test::for_lanes(n, [&](int64_t i, auto lanes) { lanes.store(&x[i], lanes.load(&x[i]) + isa_test::set1(1.0f)); });
    Floats want(static_cast<size_t>(n), 2.0f);
    want.push_back(1.0f);
    CHECK_BITS(x, want);
  }
}

}  // namespace
}  // namespace zazen::test

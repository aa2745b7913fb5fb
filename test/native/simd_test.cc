// The exponential that every kernel uses. Tests of kernels compare instruction sets; this one looks at the accuracy.
#define ZAZEN_ISA isa_test
#include "support.h"
// The pool's declaration comes before the lanes that use it.
#include "kernels/cpu/lanes.h"

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

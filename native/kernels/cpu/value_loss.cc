// The clipped value loss of a critic and its gradient, a pure function of [T] arrays. All in double; gradients are rounded
// once. Derivatives are those of automatic differentiation: a tie of max shares the gradient, clip passes it inside its closed
// interval.
#include "kernels/cpu/ops.h"

namespace zazen::ZAZEN_ISA {

void value_loss(ValueSums& sums, float* dvalues, const ValueLossInputs& in, float clip, int64_t T) {
  for (int64_t t = 0; t < T; ++t) {
    const double weight = static_cast<double>(in.weights[t]);
    dvalues[t] = 0.0f;
    if (weight == 0) continue;
    const double value = static_cast<double>(in.values[t]), wanted = static_cast<double>(in.returns[t]);
    const double old = in.old ? static_cast<double>(in.old[t]) : value, drift = value - old, bound = static_cast<double>(clip);
    const bool outside = clip > 0.0f && (drift < -bound || drift > bound);
    const double bounded = outside ? old + (drift < 0 ? -bound : bound) : value;
    const double plain = (value - wanted) * (value - wanted), clipped = (bounded - wanted) * (bounded - wanted);
    const double share = !outside || plain > clipped ? 1.0 : plain < clipped ? 0.0 : 0.5;
    dvalues[t] = static_cast<float>(weight * share * (value - wanted));
    sums.loss += weight * 0.5 * (plain > clipped ? plain : clipped);
    sums.clipped += clipped > plain;
    sums.values += value;
    sums.returns += wanted;
    sums.squared_returns += wanted * wanted;
    sums.errors += wanted - value;
    sums.squared_errors += plain;
    const double moved = drift < 0 ? -drift : drift;
    sums.max_abs_drift = moved > sums.max_abs_drift ? moved : sums.max_abs_drift;
    ++sums.tokens;
  }
}

}  // namespace zazen::ZAZEN_ISA

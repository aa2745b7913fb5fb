// The logistic function and its logarithm in double, for losses of pairs. Large arguments of either sign included.
#pragma once

namespace zazen::ZAZEN_ISA {

// log(1 + e^x) = -log sigmoid(-x).
inline double softplus(double x) { return (x > 0 ? x : 0.0) + __builtin_log1p(__builtin_exp(x > 0 ? -x : x)); }
inline double sigmoid(double x) {
  const double e = __builtin_exp(x > 0 ? -x : x);
  return (x > 0 ? 1.0 : e) / (1.0 + e);
}

}  // namespace zazen::ZAZEN_ISA

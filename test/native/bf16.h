// bf16 arrays for tests of kernels.
#pragma once

#include <algorithm>
#include <vector>

#include "support.h"

namespace zazen::test {

using Bf16s = std::vector<bf16>;

inline Bf16s rounded(const Floats& x) {
  Bf16s out(x.size());
  std::transform(x.begin(), x.end(), out.begin(), f32_to_bf16);
  return out;
}
inline Floats widened(const Bf16s& x) {
  Floats out(x.size());
  std::transform(x.begin(), x.end(), out.begin(), [](bf16 a) { return bf16_to_f32(a.bits); });
  return out;
}
// The f32 values nearest to x that are bf16.
inline Floats as_bf16(const Floats& x) { return widened(rounded(x)); }

}  // namespace zazen::test

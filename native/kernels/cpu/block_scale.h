// The scale of a block of numbers that are kept as codes (kernels/quantization.h).
#pragma once

#include "kernels/cpu/lanes.h"
#include "kernels/quantization.h"

namespace zazen::ZAZEN_ISA {

struct BlockScale {
  float largest;  // magnitude: NaN when a number is infinite or none, and zero when it is not normal
  float inverse;  // of that; zero when there is none
};

template <class T>
inline BlockScale block_scale(const T* x, int64_t n) {
  F32x16 top = zero(), spoiled = zero();
  for_lanes(n, [&](int64_t i, auto lanes) {
    const F32x16 a = lanes.load(x + i);
    top = max(magnitude(a), top);
    spoiled = spoiled + (a - a);
  });
  const float largest = max(top) + sum(spoiled);
  return {largest < kLeastMagnitude ? 0.0f : largest, largest >= kLeastMagnitude ? 1.0f / largest : 0.0f};
}

}  // namespace zazen::ZAZEN_ISA

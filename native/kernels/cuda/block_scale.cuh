// The scale of a block of numbers that are kept as codes (kernels/quantization.h), by the lanes that have eight of them each.
#pragma once

#include "kernels/cuda/lanes.cuh"
#include "kernels/cuda/math.cuh"
#include "kernels/quantization.h"

namespace zazen::cuda {

struct BlockScale {
  float largest;  // magnitude: NaN when a number is infinite or none, and zero when it is not normal
  float inverse;  // of that; zero when there is none
};

template <int Lanes>
__device__ __forceinline__ BlockScale block_scale(const Eight& x) {
  float top = 0.0f, spoiled = 0.0f;
#pragma unroll
  for (int i = 0; i < kEight; ++i) {
    top = larger(fabsf(x.v[i]), top);
    spoiled = spoiled + (x.v[i] - x.v[i]);
  }
  const float largest = lanes_max<Lanes>(top) + lanes_sum<Lanes>(spoiled);
  return {largest < kLeastMagnitude ? 0.0f : largest, largest >= kLeastMagnitude ? 1.0f / largest : 0.0f};
}

}  // namespace zazen::cuda

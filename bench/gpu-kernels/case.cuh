// A measured case as a JSON line, data for it on the device, and the comparison of its answer with the CPU's.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "kernels/cuda/lanes.cuh"
#include "kernels/cuda/math.cuh"
#include "kernels/cuda/ops.h"
#include "kernels/kernels.h"
#include "measure.cuh"

namespace zazen::bench {

using cuda::DeviceBuffer;

struct Case {
  std::string name, shape, dtype;
  double seconds = 0;
  double bytes = 0, flops = 0;         // that it must move or do
  double error = 0, tolerance = 1e-5;  // of its answer, and what is right
  std::string more;                    // further fields, each behind a comma
};

inline void report(const Case& c) {
  fact(text("{\"case\": \"", c.name, "\", \"shape\": \"", c.shape, "\", \"dtype\": \"", c.dtype, "\", \"seconds\": ", c.seconds,
            ", \"bytes\": ", c.bytes, ", \"flops\": ", c.flops, ", \"error\": ", std::isfinite(c.error) ? c.error : -1.0,
            ", \"right\": ", c.error <= c.tolerance ? "true" : "false", c.more, "}"));
}

template <class E>
__global__ void __launch_bounds__(cuda::kThreads) noise_kernel(E* out, int64_t n, uint32_t seed, float low, float high) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * cuda::kThreads + threadIdx.x;
  if (i >= n) return;
  const uint32_t bits = cuda::mixed(cuda::mixed(seed ^ static_cast<uint32_t>(i >> 32)) + static_cast<uint32_t>(i));
  cuda::put(out + i, low + (high - low) * (static_cast<float>(bits >> 8) * 0x1p-24f));
}

// Uniform in low .. high, a function of the seed and the place.
template <class E>
DeviceBuffer<E> noise(int64_t n, uint32_t seed, float low = -1.0f, float high = 1.0f) {
  DeviceBuffer<E> out(static_cast<size_t>(n));
  cuda::launch({"noise", {{"n", n}}}, noise_kernel<E>, {.x = ceil_div(n, cuda::kThreads), .threads = cuda::kThreads},
               out.data(), n, seed, low, high);
  return out;
}

// The first elements of an array in device memory.
template <class E>
std::vector<E> first_of(const E* device, int64_t count) {
  std::vector<E> out(static_cast<size_t>(count));
  cuda::download(out.data(), device, out.size() * sizeof(E));
  return out;
}

inline double value_of(float x) { return static_cast<double>(x); }
inline double value_of(bf16 x) { return static_cast<double>(bf16_to_f32(x.bits)); }

// The largest |got - wanted| / max(1, |wanted|); not finite where something is not.
template <class A, class B>
double error_of(const std::vector<A>& got, const std::vector<B>& wanted) {
  double worst = 0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    const double want = value_of(wanted[i]), error = std::fabs(value_of(got[i]) - want) / std::fmax(1.0, std::fabs(want));
    if (!(error <= worst)) worst = error;
  }
  return worst;
}

inline const Kernels& cpu() { return cpu_kernels(best_isa()); }
constexpr double kBf16Tolerance = 1e-2;

}  // namespace zazen::bench

// What the tests of kernels share: reproducible inputs, every kernel table of this machine, and numerical derivatives.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "core/check.h"
#include "core/rng.h"
#include "core/thread_pool.h"
#include "harness.h"
#include "kernels/kernels.h"

namespace zazen::test {

using Floats = std::vector<float>;
using Doubles = std::vector<double>;
using Ints = std::vector<int32_t>;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Uniform in [low, high), a function of the seed and the place alone.
inline Floats random_floats(int64_t n, uint64_t seed, float low = -1.0f, float high = 1.0f) {
  Floats x(static_cast<size_t>(n));
  for (size_t i = 0; i < x.size(); ++i)
    x[i] = low + (high - low) * uniform(philox(seed, {static_cast<uint32_t>(i), 0, 0, 0})[0]);
  return x;
}
inline Ints random_ints(int64_t n, uint64_t seed, int32_t bound) {
  Ints x(static_cast<size_t>(n));
  for (size_t i = 0; i < x.size(); ++i)
    x[i] = static_cast<int32_t>(philox(seed, {static_cast<uint32_t>(i), 1, 0, 0})[0] % static_cast<uint32_t>(bound));
  return x;
}
inline Doubles doubles(const Floats& x) { return Doubles(x.begin(), x.end()); }
inline Floats slice(const Floats& x, int64_t begin, int64_t count) {
  return Floats(x.begin() + begin, x.begin() + begin + count);
}
inline void append(Floats& to, const Floats& from) { to.insert(to.end(), from.begin(), from.end()); }

inline std::vector<Isa> isas() {
  std::vector<Isa> all;
  for (const Isa isa : kIsas)
    if (has_isa(isa)) all.push_back(isa);
  return all;
}
inline const Kernels& best() { return cpu_kernels(best_isa()); }

// compute(kernels, pool) -> Floats must give the same bits on every instruction set with 1, 2 and 3 threads. Returns them.
template <class Compute>
Floats same_everywhere(const char* file, int line, const Compute& compute) {
  ThreadPool one(1);
  const Floats want = compute(best(), one);
  for (const Isa isa : isas())
    for (int threads = 1; threads <= 3; ++threads) {
      ThreadPool pool(threads);
      const std::string what = std::string(isa_name(isa)) + " with " + std::to_string(threads) + " threads";
      harness::same_bits(file, line, compute(cpu_kernels(isa), pool), want, what.c_str());
    }
  return want;
}
#define SAME_EVERYWHERE(...) same_everywhere(__FILE__, __LINE__, __VA_ARGS__)

// Central differences of f(x) -> double at every element of x.
template <class F>
Doubles numeric_gradient(Doubles x, const F& f) {
  constexpr double kStep = 1e-5;
  Doubles gradient(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double at = x[i];
    x[i] = at + kStep;
    const double above = f(x);
    x[i] = at - kStep;
    const double below = f(x);
    x[i] = at;
    gradient[i] = (above - below) / (2 * kStep);
  }
  return gradient;
}

inline double dot(const Doubles& a, const Floats& b) {
  double total = 0;
  for (size_t i = 0; i < a.size(); ++i) total += a[i] * static_cast<double>(b[i]);
  return total;
}

}  // namespace zazen::test

#include "runtime/probe.h"

#include <algorithm>
#include <chrono>

#include "core/buffer.h"

namespace zazen {

Peak measure_peak(const Kernels& kernels, ThreadPool& pool, double seconds) {
  constexpr int64_t M = 768, N = 1024, K = 1024;
  Buffer<float> x(M * K), w(static_cast<size_t>(panel_elements(N, K))), y(M * N);
  std::fill_n(x.data(), x.size(), 1.0f);
  std::fill_n(w.data(), w.size(), 1.0f);
  using Clock = std::chrono::steady_clock;
  double best = 1e9;
  const auto begin = Clock::now();
  do {
    const auto start = Clock::now();
    kernels.linear_forward(pool, y.data(), N, x.data(), K, w.data(), M, N, K, false);
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  } while (std::chrono::duration<double>(Clock::now() - begin).count() < seconds);
  return {2.0 * M * N * K / best * 1e-9, M, N, K};
}

}  // namespace zazen

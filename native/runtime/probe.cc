#include "runtime/probe.h"

#include <algorithm>
#include <chrono>

#include "core/tensor.h"

namespace zazen {
namespace {

void fill_ones(TensorRef to, int64_t count) {
  if (to.type == DType::bf16)
    std::fill_n(to.as<bf16>(), count, f32_to_bf16(1.0f));
  else
    std::fill_n(to.as<float>(), count, 1.0f);
}

}  // namespace

Peak measure_peak(const Kernels& kernels, ThreadPool& pool, DType type, double seconds) {
  constexpr int64_t M = 768, N = 1024, K = 1024;
  TensorBuffer x(type, M * K), w(type, panel_elements(N, K)), y(type, M * N);
  for (TensorBuffer* ones : {&x, &w}) fill_ones(ones->ref(), ones->bytes() / dtype_bytes(type));
  using Clock = std::chrono::steady_clock;
  double best = 1e9;
  const auto begin = Clock::now();
  do {
    const auto start = Clock::now();
    kernels.linear_forward(pool, y.ref(), N, x.view(), K, w.view(), M, N, K, false);
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  } while (std::chrono::duration<double>(Clock::now() - begin).count() < seconds);
  return {2.0 * M * N * K / best * 1e-9, M, N, K};
}

}  // namespace zazen

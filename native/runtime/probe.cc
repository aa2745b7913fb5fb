#include "runtime/probe.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <limits>

#include "core/tensor.h"

namespace zazen {
namespace {

void fill_ones(TensorRef to, int64_t count) {
  if (to.type == DType::bf16)
    std::fill_n(to.as<bf16>(), count, f32_to_bf16(1.0f));
  else
    std::fill_n(to.as<float>(), count, 1.0f);
}

// Seconds of the fastest of the calls that `seconds` have room for; at least one.
template <class Body>
double fastest(double seconds, const Body& body) {
  using Clock = std::chrono::steady_clock;
  const auto since = [](Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); };
  double best = std::numeric_limits<double>::infinity();
  const auto begin = Clock::now();
  do {
    const auto start = Clock::now();
    body();
    best = std::min(best, since(start));
  } while (since(begin) < seconds);
  return best;
}

}  // namespace

Peak measure_peak(const Kernels& kernels, ThreadPool& pool, DType type, double seconds) {
  constexpr int64_t M = 768, N = 1024, K = 1024;
  TensorBuffer x(type, M * K), w(type, panel_elements(N, K)), y(type, M * N);
  for (TensorBuffer* ones : {&x, &w}) fill_ones(ones->ref(), ones->bytes() / dtype_bytes(type));
  const double best =
      fastest(seconds, [&] { kernels.linear_forward(pool, y.ref(), N, x.view(), K, w.view(), M, N, K, false); });
  return {2.0 * M * N * K / best * 1e-9, M, N, K};
}

double measure_reads(ThreadPool& pool, double seconds) {
  constexpr int64_t kBytes = int64_t{512} << 20, kLine = 64 / sizeof(uint64_t);
  const Buffer<uint64_t> memory(kBytes / sizeof(uint64_t));
  const int64_t lines = static_cast<int64_t>(memory.size()) / kLine, share = ceil_div(lines, pool.threads());
  std::atomic<uint64_t> sum{0};  // so that no read can be left out
  const double best = fastest(seconds, [&] {
    parallel_for(pool, pool.threads(), [&](int64_t part) {
      uint64_t words = 0;  // one of every cache line, which is read whole
      for (int64_t line = part * share; line < std::min(lines, (part + 1) * share); ++line)
        words += memory[static_cast<size_t>(line * kLine)];
      sum.fetch_add(words, std::memory_order_relaxed);
    });
  });
  return static_cast<double>(kBytes) / best * 1e-9;
}

}  // namespace zazen

// Sum of squares in double, with the CPU's bits: chunks of 4,096 elements are sixteen chains of every sixteenth element, which
// sixteen threads take, and one fold; the host adds the chunks in order. Limit: memory bandwidth where the device has a unit
// for double for every two for f32; others have a 32nd of that and are bound by it.
#include <vector>

#include "kernels/cuda/lanes.cuh"
#include "kernels/cuda/memory.h"
#include "kernels/cuda/ops.h"

namespace zazen::cuda {
namespace {

constexpr int64_t kChunk = 4096;
constexpr int kChains = 16, kChunksPerBlock = kThreads / kChains;

// The two chunks of a warp are two segments of 16 lanes; lane i is joined with lane i + 8, then + 4, + 2, + 1.
__global__ void __launch_bounds__(kThreads) chunk_kernel(double* sums, const float* x, int64_t n) {
  const int64_t chunk = static_cast<int64_t>(blockIdx.x) * kChunksPerBlock + threadIdx.x / kChains;
  const int64_t first = chunk * kChunk, last = first + kChunk < n ? first + kChunk : n;
  double sum = 0.0;
#pragma unroll 16
  for (int64_t i = first + threadIdx.x % kChains; i < last; i += kChains) {
    const double value = static_cast<double>(x[i]);
    sum = fma(value, value, sum);  // the square of a float is exact, so this is value * value + sum
  }
#pragma unroll
  for (int away = kChains / 2; away > 0; away /= 2) sum = sum + __shfl_xor_sync(kWholeWarp, sum, away, kChains);
  if (threadIdx.x % kChains == 0 && first < n) sums[chunk] = sum;
}

}  // namespace

double sum_squares(ThreadPool&, const float* x, int64_t n, double* scratch) {
  const int64_t chunks = ceil_div(n, kChunk);
  launch({"sum_squares", {{"n", n}}}, chunk_kernel, {.x = ceil_div(chunks, kChunksPerBlock), .threads = kThreads}, scratch, x,
         n);
  std::vector<double> sums(static_cast<size_t>(chunks));
  download(sums.data(), scratch, sums.size() * sizeof(double));
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

}  // namespace zazen::cuda

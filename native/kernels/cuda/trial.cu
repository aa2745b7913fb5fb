// See trial.h. A block takes a line; numbers are hashes of their place, so that they need no state.
#include <vector>

#include "kernels/cuda/lanes.cuh"
#include "kernels/cuda/math.cuh"
#include "kernels/cuda/trial.h"
#include "kernels/cuda/workspace.h"

namespace zazen::cuda {
namespace {

constexpr uint32_t kExponents = 13, kStartSeed = 3;

// The bits of a bf16 of magnitude 1 .. 2^13. The exponent is one for all lines, so that large terms meet large ones.
__device__ unsigned cancelling(uint32_t line, uint32_t k, uint32_t half, uint32_t seed, bool negate) {
  const uint32_t pair = half ? k % half : k;
  const uint32_t noise = mixed(mixed(line ^ seed << 24) + pair), exponent = mixed(pair) % kExponents;
  const bool negative = (noise >> 16 & 1) != (negate && half && k >= half);
  return (negative ? 0x8000u : 0u) | (127 + exponent) << 7 | (noise & 0x7F);
}

// Blocks take the operand's rows as they lie: lines, or depths.
__global__ void __launch_bounds__(kThreads)
    cancelling_kernel(bf16* data, int64_t length, int64_t ld, bool k_major, uint32_t half, uint32_t seed, bool negate) {
  const auto row = static_cast<uint32_t>(blockIdx.x);
  for (int64_t i = threadIdx.x; i < length; i += kThreads) {
    const auto column = static_cast<uint32_t>(i);
    const unsigned bits = k_major ? cancelling(row, column, half, seed, negate) : cancelling(column, row, half, seed, negate);
    data[row * ld + i].bits = static_cast<uint16_t>(bits);
  }
}

template <class E>
__global__ void __launch_bounds__(kThreads) start_kernel(E* out, int64_t columns, int64_t ld) {
  for (int64_t i = threadIdx.x; i < columns; i += kThreads) {
    const uint32_t noise = mixed(mixed(blockIdx.x ^ kStartSeed << 24) + static_cast<uint32_t>(i));
    put(out + blockIdx.x * ld + i, static_cast<float>(noise >> 8) * 0x1p-23f - 1.0f);
  }
}

__device__ __forceinline__ uint32_t bits_of(float value) { return __float_as_uint(value); }
__device__ __forceinline__ uint32_t bits_of(bf16 value) { return value.bits; }

struct Shared {
  int counts[kWarps];
};
template <class E>
__global__ void __launch_bounds__(kThreads)
    differences_kernel(int* counts, const E* a, const E* b, int64_t columns, int64_t ld) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * ld;
  int count = 0;
  for (int64_t i = threadIdx.x; i < columns; i += kThreads) count += bits_of(a[row + i]) != bits_of(b[row + i]);
  count = block_sum(count, shared_memory<Shared>().counts);
  if (threadIdx.x == 0) counts[blockIdx.x] = count;
}

}  // namespace

void fill_cancelling(bf16* data, int64_t lines, int64_t depth, int64_t ld, bool k_major, uint32_t seed, bool negate) {
  launch({"fill_cancelling", {{"lines", lines}, {"depth", depth}}}, cancelling_kernel,
         {.x = k_major ? lines : depth, .threads = kThreads}, data, k_major ? depth : lines, ld, k_major, depth / 2, seed,
         negate);
}

void fill_start(TensorRef out, int64_t rows, int64_t columns, int64_t ld) {
  with_type(out, [&]<class E>(E* data) {
    launch({"fill_start", {{"rows", rows}, {"columns", columns}}}, start_kernel<E>, {.x = rows, .threads = kThreads}, data,
           columns, ld);
  });
}

int64_t count_differences(TensorView a, TensorView b, int64_t rows, int64_t columns, int64_t ld) {
  int* counts = workspace<int>(rows);
  with_type(a, [&]<class E>(const E* first) {
    launch({"count_differences", {{"rows", rows}, {"columns", columns}}}, differences_kernel<E>,
           {.x = rows, .threads = kThreads, .shared_bytes = sizeof(Shared)}, counts, first, b.as<E>(), columns, ld);
  });
  std::vector<int> host(static_cast<size_t>(rows));
  download(host.data(), counts, host.size() * sizeof(int));
  int64_t total = 0;
  for (const int count : host) total += count;
  return total;
}

}  // namespace zazen::cuda

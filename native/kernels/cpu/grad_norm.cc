// Sum of squares in double, in an order that depends on the length alone.
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/ops.h"

namespace zazen::ZAZEN_ISA {
namespace {

constexpr int64_t kChunk = 4096;

// Eight lanes as the compiler's own vectors: they become registers of whatever width there is.
typedef float EightFloats __attribute__((vector_size(32)));
typedef double EightDoubles __attribute__((vector_size(64)));

inline EightDoubles squares(const float* x) {
  EightFloats narrow;
  std::memcpy(&narrow, x, sizeof narrow);
  const EightDoubles wide = __builtin_convertvector(narrow, EightDoubles);
  return wide * wide;
}

// Sixteen lane sums, then the fold of simd.h in double. The square of a float is exact in double.
double chunk_squares(const float* x, int64_t n) {
  EightDoubles low = {}, high = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    low += squares(x + i);
    high += squares(x + i + kLanes / 2);
  }
  if (i < n) {
    float tail[kLanes];
    store(tail, load(x + i, n - i));
    low += squares(tail);
    high += squares(tail + kLanes / 2);
  }
  const EightDoubles lane = low + high;
  const double even = (lane[0] + lane[4]) + (lane[2] + lane[6]), odd = (lane[1] + lane[5]) + (lane[3] + lane[7]);
  return even + odd;
}

}  // namespace

double sum_squares(ThreadPool& pool, const float* x, int64_t n, double* scratch) {
  const int64_t chunks = ceil_div(n, kChunk);
  parallel_pieces(pool, chunks, task_items(kChunk), [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c)
      scratch[c] = chunk_squares(x + c * kChunk, n - c * kChunk < kChunk ? n - c * kChunk : kChunk);
  });
  double total = 0;
  for (int64_t c = 0; c < chunks; ++c) total += scratch[c];
  return total;
}

}  // namespace zazen::ZAZEN_ISA

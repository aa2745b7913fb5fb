// Sum of squares in double, in an order that depends on the length alone.
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/ops.h"

namespace zazen::ZAZEN_ISA {
namespace {

constexpr int64_t kChunk = 4096;

// Four lanes as the compiler's own vectors: there is no lane type for double.
typedef float FourFloats __attribute__((vector_size(16)));
typedef double FourDoubles __attribute__((vector_size(32)));

// The square of a float is exact in double.
inline void add_squares(FourDoubles& lanes, const float* x) {
  FourFloats narrow;
  std::memcpy(&narrow, x, sizeof narrow);
  const FourDoubles wide = __builtin_convertvector(narrow, FourDoubles);
  lanes += wide * wide;
}

// Sixteen lane sums, then the fold of simd.h in double.
double chunk_squares(const float* x, int64_t n) {
  FourDoubles a = {}, b = {}, c = {}, d = {};
  for (int64_t i = 0; i < n; i += kLanes) {
    float tail[kLanes];
    const float* block = x + i;
    if (n - i < kLanes) {
      store(tail, load(block, n - i));
      block = tail;
    }
    add_squares(a, block);
    add_squares(b, block + 4);
    add_squares(c, block + 8);
    add_squares(d, block + 12);
  }
  const FourDoubles four = (a + c) + (b + d);
  return (four[0] + four[2]) + (four[1] + four[3]);
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

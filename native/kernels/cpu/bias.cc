// The bias of a linear layer and its gradient.
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/ops.h"

namespace zazen::ZAZEN_ISA {
void bias_forward(ThreadPool& pool, TensorRef y, TensorView b, int64_t T, int64_t N) {
  parallel_pieces(pool, T, task_items(N), [&](int64_t begin, int64_t end) {
    with_types(y, b, [&](auto* rows, const auto* bias) {
      for (int64_t t = begin; t < end; ++t) add_row(rows + t * N, bias, N);
    });
  });
}

void bias_backward(ThreadPool& pool, float* db, const float* dy, int64_t T, int64_t N) {
  parallel_pieces(pool, N, task_items(T, kColumnGranule), [&](int64_t begin, int64_t end) {
    for (int64_t t = 0; t < T; ++t) add_row(db + begin, dy + t * N + begin, end - begin);
  });
}

}  // namespace zazen::ZAZEN_ISA

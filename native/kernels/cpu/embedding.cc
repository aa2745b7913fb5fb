// Moving rows: embedding lookup and its gradient, gather and scatter of rows, and the residual addition.
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/ops.h"

namespace zazen::ZAZEN_ISA {
namespace {

inline void copy_row(TensorRef out, TensorView in, int64_t H) {
  std::memcpy(out.data, in.data, static_cast<size_t>(H * dtype_bytes(in.type)));
}

void lookup_row(float* x, const EmbeddingTable& table, const float* data, int64_t id) {
  const int64_t H = table.hidden;
  if (!table.panels) return copy_row(x, data + id * H, H);
  const float* column = data + panel_index(id, 0, H);
  for (int64_t k = 0; k < H; ++k) x[k] = column[k * kPanel];
}

void lookup_row(float* x, const EmbeddingTable& table, const bf16* data, int64_t id) {
  const int64_t H = table.hidden;
  if (!table.panels) return for_lanes(H, [&](int64_t k, auto lanes) { lanes.store(x + k, lanes.load(data + id * H + k)); });
  const bf16* column = data + pair_index(id, 0, panel_depth(H, DType::bf16));
  for (int64_t k = 0; k < H; ++k) x[k] = bf16_to_f32(column[k / 2 * 2 * kPanel + k % 2].bits);
}

}  // namespace

void embedding_forward(ThreadPool& pool, float* x, const EmbeddingTable& table, const int32_t* ids, int64_t T) {
  parallel_pieces(pool, T, task_items(table.hidden), [&](int64_t begin, int64_t end) {
    with_type(table.data, [&](const auto* data) {
      for (int64_t t = begin; t < end; ++t) lookup_row(x + t * table.hidden, table, data, ids[t]);
    });
  });
}

// x[t] = table[ids[t]], so dtable[ids[t]] += dx[t]. Tasks share columns, not tokens: an id may occur many times.
void embedding_backward(ThreadPool& pool, float* dtable, const float* dx, const int32_t* ids, int64_t T, int64_t H) {
  parallel_pieces(pool, H, task_items(T, kColumnGranule), [&](int64_t begin, int64_t end) {
    for (int64_t t = 0; t < T; ++t) add_row(dtable + ids[t] * H + begin, dx + t * H + begin, end - begin);
  });
}

void gather_rows(ThreadPool& pool, TensorRef out, TensorView x, const int32_t* rows, int64_t R, int64_t H) {
  parallel_pieces(pool, R, task_items(H), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) copy_row(out + r * H, x + rows[r] * H, H);
  });
}

void scatter_rows(ThreadPool& pool, float* dx, const float* dout, const int32_t* rows, int64_t R, int64_t H) {
  parallel_pieces(pool, R, task_items(H), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) copy_row(dx + rows[r] * H, dout + r * H, H);
  });
}

void add(ThreadPool& pool, float* x, const float* y, int64_t n) {
  parallel_pieces(pool, n, task_items(1, kLanes),
                  [&](int64_t begin, int64_t end) { add_row(x + begin, y + begin, end - begin); });
}

void scale(ThreadPool& pool, TensorRef y, const float* x, float factor, int64_t n) {
  parallel_pieces(pool, n, task_items(1, kLanes), [&](int64_t begin, int64_t end) {
    with_type(y + begin, [&](auto* to) {
      for_lanes(end - begin, [&](int64_t i, auto lanes) { lanes.store(to + i, lanes.load(x + begin + i) * set1(factor)); });
    });
  });
}

}  // namespace zazen::ZAZEN_ISA

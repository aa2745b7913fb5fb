// Moves of rows: exact by nature, so everything is compared bit for bit.
#include "support.h"

namespace zazen::test {
namespace {

Floats to_panels(const Floats& table, int64_t V, int64_t H) {
  Floats panels(static_cast<size_t>(panel_elements(V, H)));
  for (int64_t v = 0; v < V; ++v)
    for (int64_t h = 0; h < H; ++h) panels[panel_index(v, h, H)] = table[v * H + h];
  return panels;
}

TEST(embedding_forward_reads_both_layouts) {
  for (const int64_t H : {1, 8, 33, 96}) {
    constexpr int64_t V = 71;
    Floats table = random_floats(V * H, 1), panels = to_panels(table, V, H);
    const Ints ids = random_ints(400, 2, V);
    Floats want;
    for (const int32_t id : ids) append(want, slice(table, id * H, H));
    for (const bool tied : {false, true})
      CHECK_BITS(SAME_EVERYWHERE([&](const Kernels& k, ThreadPool& pool) {
                   Floats x(want.size());
                   k.embedding_forward(pool, x.data(), {tied ? panels.data() : table.data(), tied, V, H}, ids.data(), 400);
                   return x;
                 }),
                 want);
  }
}

TEST(embedding_backward_adds_tokens_in_order) {
  for (const int64_t H : {1, 16, 33, 200}) {
    constexpr int64_t V = 5, T = 301;  // few ids, so each occurs often
    const Floats start = random_floats(V * H, 3), dx = random_floats(T * H, 4, -100, 100);
    const Ints ids = random_ints(T, 5, V);
    Floats want = start;
    for (int64_t t = 0; t < T; ++t)
      for (int64_t h = 0; h < H; ++h) want[ids[t] * H + h] += dx[t * H + h];
    CHECK_BITS(SAME_EVERYWHERE([&](const Kernels& k, ThreadPool& pool) {
                 Floats dtable = start;
                 k.embedding_backward(pool, dtable.data(), dx.data(), ids.data(), 100, H);
                 k.embedding_backward(pool, dtable.data(), dx.data() + 100 * H, ids.data() + 100, T - 100, H);
                 return dtable;
               }),
               want);
  }
}

TEST(gather_and_scatter_are_transposes) {
  constexpr int64_t T = 40, H = 19;
  const Floats x = random_floats(T * H, 6);
  const Ints rows = {39, 0, 7, 22};
  ThreadPool pool(2);
  Floats out(4 * H), back(T * H, 0.0f), want(T * H, 0.0f);
  best().gather_rows(pool, out.data(), x.data(), rows.data(), 4, H);
  best().scatter_rows(pool, back.data(), out.data(), rows.data(), 4, H);
  for (size_t r = 0; r < rows.size(); ++r) {
    CHECK_BITS(slice(out, static_cast<int64_t>(r) * H, H), slice(x, rows[r] * H, H));
    for (int64_t h = 0; h < H; ++h) want[rows[r] * H + h] = x[rows[r] * H + h];
  }
  CHECK_BITS(back, want);
}

TEST(scale_multiplies_and_rounds_once) {
  for (const int64_t n : {0, 1, 17, 40000}) {
    const Floats x = random_floats(n, 9);
    Floats want = x, rounded = x;
    for (float& value : want) value *= 0.3f;
    for (float& value : rounded) value = bf16_to_f32(f32_to_bf16(value * 0.3f).bits);
    CHECK_BITS(SAME_EVERYWHERE([&](const Kernels& k, ThreadPool& pool) {
                 Floats y = x;
                 k.scale(pool, y.data(), y.data(), 0.3f, n);
                 return y;
               }),
               want);
    CHECK_BITS(SAME_EVERYWHERE([&](const Kernels& k, ThreadPool& pool) {
                 std::vector<bf16> y(static_cast<size_t>(n));
                 k.scale(pool, y.data(), x.data(), 0.3f, n);
                 Floats out;
                 for (const bf16 value : y) out.push_back(bf16_to_f32(value.bits));
                 return out;
               }),
               rounded);
  }
}

TEST(add_adds_in_place) {
  for (const int64_t n : {0, 1, 17, 40000}) {
    const Floats x = random_floats(n, 7), y = random_floats(n, 8);
    Floats want = x;
    for (int64_t i = 0; i < n; ++i) want[i] += y[i];
    CHECK_BITS(SAME_EVERYWHERE([&](const Kernels& k, ThreadPool& pool) {
                 Floats sum = x;
                 k.add(pool, sum.data(), y.data(), n);
                 return sum;
               }),
               want);
  }
}

}  // namespace
}  // namespace zazen::test

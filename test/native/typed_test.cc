// Kernels on bf16: what comes out must be what the f32 kernel makes of the same numbers, rounded to nearest where it is stored
// as bf16, bit for bit on every instruction set. The f32 kernels have tests of their own.
#include <cmath>

#include "bf16.h"

namespace zazen::test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(bf16_rounds_to_nearest_and_ties_to_even) {
  const auto bits = [](float x) { return static_cast<int>(f32_to_bf16(x).bits); };
  CHECK(bits(1.0f) == 0x3F80);
  CHECK(bits(1.0f + 0x1p-8f) == 0x3F80);              // a tie, to even
  CHECK(bits(1.0f + 0x3p-8f) == 0x3F82);              // a tie, to even
  CHECK(bits(1.0f + 0x1p-8f + 0x1p-20f) == 0x3F81);   // above it
  CHECK(bits(-1.0f - 0x1p-8f - 0x1p-20f) == 0xBF81);  // and below zero
  CHECK(bits(3.4e38f) == 0x7F80 && bits(-kInfinity) == 0xFF80);
  CHECK(bits(0x1p-133f) == 1);  // subnormals are kept
  CHECK(std::isnan(bf16_to_f32(f32_to_bf16(kNan).bits)));
  for (uint32_t i = 0; i < 0x10000; ++i) {
    const float x = bf16_to_f32(static_cast<uint16_t>(i));
    if (x == x) CHECK(bits(x) == static_cast<int>(i));
  }
}

// Every rounding of stores, of whole and part vectors, through a kernel that does little else.
TEST(bf16_stores_round_alike_everywhere) {
  Floats bits;
  for (uint32_t i = 0; i < 3000; ++i) bits.push_back(std::bit_cast<float>(philox(7, {i, 0, 0, 0})[0]));
  for (const float x : {0.0f, -0.0f, kInfinity, 3.4e38f, 0x1p-126f, 0x1p-149f, 1.0f + 0x1p-8f}) bits.push_back(x);
  const Floats got = SAME_EVERYWHERE([&](const Kernels& k, ThreadPool& pool) {
    Bf16s out(bits.size());
    k.weight_round(pool, out.data(), bits.data(), static_cast<int64_t>(bits.size()), false);
    return widened(out);
  });
  for (size_t i = 0; i < bits.size(); ++i) CHECK(std::bit_cast<uint32_t>(got[i]) >> 16 == f32_to_bf16(bits[i]).bits);
}

TEST(bf16_rmsnorm_is_that_of_f32_rounded) {
  for (const int64_t H : {1, 15, 40, 129}) {
    const int64_t T = 5;
    const Floats x = as_bf16(random_floats(T * H, 1, -3, 3)), w = as_bf16(random_floats(H, 2)), dy = random_floats(T * H, 3);
    const Bf16s short_x = rounded(x), short_w = rounded(w);
    const auto forward = [&](const Kernels& k, ThreadPool& pool, TensorRef y, TensorView in, TensorView weight) {
      Floats rstd(T);
      k.rmsnorm_forward(pool, y, rstd.data(), in, weight, T, H, 1e-5f);
      return rstd;
    };
    const auto backward = [&](const Kernels& k, ThreadPool& pool, const Floats& rstd, TensorView in, TensorView weight) {
      Floats dx(T * H), dw(H);
      k.rmsnorm_backward_input(pool, dx.data(), dy.data(), dy.data(), in, weight, rstd.data(), T, H);
      k.rmsnorm_backward_weight(pool, dw.data(), dy.data(), in, rstd.data(), T, H);
      append(dx, dw);
      return dx;
    };
    ThreadPool one(1);
    Floats y(T * H);
    const Floats rstd = forward(best(), one, y.data(), x.data(), w.data());
    for (const TensorView in : {TensorView(x.data()), TensorView(short_x.data())}) {
      CHECK_BITS(SAME_EVERYWHERE([&](const Kernels& k, ThreadPool& pool) {
                   Bf16s out(y.size());
                   CHECK_BITS(forward(k, pool, out.data(), in, short_w.data()), rstd);
                   return widened(out);
                 }),
                 as_bf16(y));
      CHECK_BITS(
          SAME_EVERYWHERE([&](const Kernels& k, ThreadPool& pool) { return backward(k, pool, rstd, in, short_w.data()); }),
          backward(best(), one, rstd, x.data(), w.data()));
    }
  }
}

TEST(bf16_rope_swiglu_and_bias_are_those_of_f32_rounded) {
  ThreadPool one(1);
  for (const int64_t D : {2, 8, 12, 40}) {
    const int64_t T = 7, heads = 3, n = T * heads * D;
    const Floats x = as_bf16(random_floats(n, 1)), up = as_bf16(random_floats(n, 2)), b = as_bf16(random_floats(heads * D, 3)),
                 dy = random_floats(n, 4), cos = random_floats(9 * D / 2, 5), sin = random_floats(9 * D / 2, 6);
    const Bf16s short_b = rounded(b), short_up = rounded(up), short_x = rounded(x);
    const Ints positions = random_ints(T, 7, 9);
    // In place on two arrays, which are returned one after the other.
    const auto run = [&](const Kernels& k, ThreadPool& pool, int op, TensorRef a, TensorRef u, TensorView bias) {
      if (op == 0) k.rope(pool, a, positions.data(), cos.data(), sin.data(), T, heads, D, 1.0f);
      if (op == 1) k.bias_forward(pool, a, bias, T, heads * D);
      if (op == 2) k.swiglu_forward(pool, a, a, u, T, heads * D);
      if (op == 3) k.swiglu_backward(pool, a, u, dy.data(), T, heads * D);
    };
    for (int op = 0; op < 4; ++op) {
      Floats want = x, want_up = up;
      run(best(), one, op, want.data(), want_up.data(), b.data());
      append(want, want_up);
      CHECK_BITS(SAME_EVERYWHERE([&](const Kernels& k, ThreadPool& pool) {
                   Bf16s a = short_x, u = short_up;
                   run(k, pool, op, a.data(), u.data(), short_b.data());
                   a.insert(a.end(), u.begin(), u.end());
                   return widened(a);
                 }),
                 as_bf16(want));
    }
  }
}

TEST(bf16_embedding_and_gather_copy_rows) {
  constexpr int64_t kV = 70, kH = 37, kDepth = 38;
  const Floats table = as_bf16(random_floats(kV * kH, 1));
  const Bf16s rows = rounded(table);
  Bf16s panels(static_cast<size_t>(panel_elements(kV, kH, DType::bf16)));
  for (int64_t v = 0; v < kV; ++v)
    for (int64_t h = 0; h < kH; ++h) panels[pair_index(v, h, kDepth)] = rows[v * kH + h];
  const Ints ids = {3, 69, 0, 3, 33};
  Floats want;
  for (const int32_t id : ids) append(want, slice(table, id * kH, kH));
  for (const bool as_panels : {false, true})
    CHECK_BITS(SAME_EVERYWHERE([&](const Kernels& k, ThreadPool& pool) {
                 Floats x(want.size());
                 const EmbeddingTable view{as_panels ? panels.data() : rows.data(), as_panels, kV, kH};
                 k.embedding_forward(pool, x.data(), view, ids.data(), static_cast<int64_t>(ids.size()));
                 return x;
               }),
               want);
  CHECK_BITS(SAME_EVERYWHERE([&](const Kernels& k, ThreadPool& pool) {
               Bf16s out(want.size());
               k.gather_rows(pool, out.data(), rows.data(), ids.data(), static_cast<int64_t>(ids.size()), kH);
               return widened(out);
             }),
             want);
}

// A batch of two sequences and their attention, forward and backward.
struct Attention {
  int64_t heads, kv_heads, D, window;
  std::vector<int64_t> lengths = {90, 5};
  Ints blocks[2] = {{2, 0}, {1}};
  int64_t T = 95;

  KvShape kv() const { return {kv_heads, D}; }
  std::vector<Span> spans(int64_t count) const {
    if (count > 0) return {{0, lengths[0], 0, blocks[0].data()}, {lengths[0], lengths[1], 0, blocks[1].data()}};
    std::vector<Span> all;  // a row a span
    for (int64_t s = 0, row = 0; s < 2; ++s)
      for (int64_t i = 0; i < lengths[s]; ++i, ++row) all.push_back({row, 1, i, blocks[s].data()});
    return all;
  }
  AttentionArgs args(const std::vector<Span>& all) const {
    return {kv(), heads, window, 1.0f / std::sqrt(static_cast<float>(D)), all.data(), static_cast<int64_t>(all.size())};
  }
};

struct Tensors {
  TensorRef out, store;
  TensorView q, k, v;
};

// Writes out; returns lse, and with `dout` the gradients, from outputs as they were stored.
Floats attend(const Kernels& k, ThreadPool& pool, const Attention& a, const Tensors& t, int64_t rows, const float* dout) {
  const std::vector<Span> spans = a.spans(rows);
  Floats lse(a.T * a.heads);
  k.kv_write(pool, t.store, t.k, t.v, a.args(spans));
  k.attention_forward(pool, t.out, lse.data(), t.q, t.store, a.args(spans));
  if (!dout) return lse;
  Floats dq(a.T * a.heads * a.D), dk(a.T * a.kv_heads * a.D), dv(dk.size());
  k.attention_backward(pool, dq.data(), dk.data(), dv.data(), dout, t.out, lse.data(), t.q, t.store, a.args(spans));
  for (const Floats& part : {dq, dk, dv}) append(lse, part);
  return lse;
}

TEST(bf16_attention_is_that_of_f32_rounded) {
  ThreadPool one(1);
  for (const Attention& a : {Attention{2, 2, 16, 0}, Attention{6, 3, 12, 0}, Attention{7, 1, 64, 0}, Attention{4, 2, 40, 33},
                             Attention{8, 1, 128, 0}, Attention{1, 1, 6, 0}, Attention{2, 1, 256, 0}}) {
    const Floats q = as_bf16(random_floats(a.T * a.heads * a.D, 1, -2, 2)),
                 k = as_bf16(random_floats(a.T * a.kv_heads * a.D, 2, -2, 2)), v = as_bf16(random_floats(k.size(), 3)),
                 dout = random_floats(q.size(), 4);
    const Bf16s short_q = rounded(q), short_k = rounded(k), short_v = rounded(v);
    const auto store_elements = static_cast<size_t>(3 * a.kv().block_elements());
    Floats out(q.size()), store(store_elements, kNan);
    const Floats lse = attend(best(), one, a, {out.data(), store.data(), q.data(), k.data(), v.data()}, 1, nullptr);
    Floats stored = as_bf16(out);  // the backward reads outputs as they were stored
    Floats want(dout.size()), dk(k.size()), dv(v.size());
    const std::vector<Span> spans = a.spans(1);
    best().attention_backward(one, want.data(), dk.data(), dv.data(), dout.data(), stored.data(), lse.data(), q.data(),
                              store.data(), a.args(spans));
    append(want, dk);
    append(want, dv);
    for (const int64_t rows : {1, 0}) {
      const Floats got = SAME_EVERYWHERE([&](const Kernels& kernels, ThreadPool& pool) {
        Bf16s short_out(q.size()), short_store(store_elements, f32_to_bf16(kNan));
        const Tensors t{short_out.data(), short_store.data(), short_q.data(), short_k.data(), short_v.data()};
        Floats all = attend(kernels, pool, a, t, rows, rows ? dout.data() : nullptr);
        append(all, widened(short_out));
        return all;
      });
      CHECK_BITS(slice(got, 0, static_cast<int64_t>(lse.size())), lse);
      CHECK_BITS(slice(got, static_cast<int64_t>(got.size() - out.size()), static_cast<int64_t>(out.size())), stored);
      if (rows) CHECK_BITS(slice(got, static_cast<int64_t>(lse.size()), static_cast<int64_t>(want.size())), want);
    }
  }
}

}  // namespace
}  // namespace zazen::test

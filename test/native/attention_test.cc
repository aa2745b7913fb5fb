// Attention over KV blocks against a plain causal softmax in double; its gradients against central differences of that. Then
// the law: a row has the same bits however its sequence was cut, batched or placed.
#include <algorithm>
#include <cmath>

#include "attention_case.h"

namespace zazen::test {
namespace {

using Case = AttentionCase;

struct Forward {
  Floats store, out, lse;
};
Forward forward(const Kernels& kernels, ThreadPool& pool, const Case& c) {
  Forward f{c.store(), Floats(c.q.size(), kNan), Floats(c.T * c.heads, kNan)};
  const std::vector<Span> spans = c.spans();
  kernels.kv_write(pool, f.store.data(), c.k.data(), c.v.data(), c.args(spans));
  kernels.attention_forward(pool, f.out.data(), f.lse.data(), c.q.data(), f.store.data(), c.args(spans));
  return f;
}

struct Gradients {
  Floats dq, dk, dv;
};
Gradients backward(const Kernels& kernels, ThreadPool& pool, const Case& c, const Forward& f) {
  Gradients g{Floats(c.q.size(), kNan), Floats(c.k.size(), kNan), Floats(c.v.size(), kNan)};
  const std::vector<Span> spans = c.spans();
  kernels.attention_backward(pool, g.dq.data(), g.dk.data(), g.dv.data(), c.dout.data(), f.out.data(), f.lse.data(), c.q.data(),
                             f.store.data(), c.args(spans));
  return g;
}

struct Qkv {
  Doubles q, k, v;
};
Qkv inputs(const Case& c) { return {doubles(c.q), doubles(c.k), doubles(c.v)}; }

// One query row and head: appends out [D] and lse.
void reference_row(const Case& c, const Qkv& x, int64_t start, int64_t row, int64_t head, double* out, double* lse) {
  const int64_t kv_head = head / (c.heads / c.kv_heads);
  const double* q = x.q.data() + (row * c.heads + head) * c.D;
  start = c.first_key(start, row);
  Doubles score;
  for (int64_t key = start; key <= row; ++key) {
    double s = 0;
    for (int64_t d = 0; d < c.D; ++d) s += q[d] * x.k[(key * c.kv_heads + kv_head) * c.D + d];
    score.push_back(s / std::sqrt(static_cast<double>(c.D)));
  }
  const double top = *std::max_element(score.begin(), score.end());
  double total = 0;
  for (double& s : score) total += (s = std::exp(s - top));
  std::fill(out, out + c.D, 0.0);
  for (int64_t key = start; key <= row; ++key)
    for (int64_t d = 0; d < c.D; ++d) out[d] += score[key - start] / total * x.v[(key * c.kv_heads + kv_head) * c.D + d];
  *lse = top + std::log(total);
}
void reference(const Case& c, const Qkv& x, Doubles& out, Doubles& lse) {
  out.resize(c.q.size());
  lse.resize(c.T * c.heads);
  for (size_t s = 0; s < c.lengths.size(); ++s)
    for (int64_t row = c.start(s); row < c.start(s) + c.lengths[s]; ++row)
      for (int64_t h = 0; h < c.heads; ++h)
        reference_row(c, x, c.start(s), row, h, &out[(row * c.heads + h) * c.D], &lse[row * c.heads + h]);
}

TEST(attention_forward_matches_the_reference) {
  ThreadPool pool(2);
  for (const Case& c : {Case(1, 1, 8, kLengths), Case(4, 2, 24, kLengths), Case(3, 1, 64, kLengths), Case(14, 2, 16, {5, 200}),
                        Case(2, 2, 2, {3, 70}), Case(2, 1, 128, {67}), Case(4, 2, 24, kLengths, 40), Case(3, 1, 8, {300}, 64),
                        Case(2, 2, 16, {200}, 1), Case(1, 1, 4, {260}, 130)}) {
    const Forward f = forward(best(), pool, c);
    Doubles out, lse;
    reference(c, inputs(c), out, lse);
    CHECK_ALL_NEAR(f.out, out, 2e-6);
    CHECK_ALL_NEAR(f.lse, lse, 1e-6);
  }
}

TEST(attention_forward_needs_no_lse) {
  ThreadPool pool(1);
  const Case c(2, 1, 8, {9});
  const Forward f = forward(best(), pool, c);
  Floats out(c.q.size());
  best().attention_forward(pool, out.data(), nullptr, c.q.data(), f.store.data(), c.args(c.spans()));
  CHECK_BITS(out, f.out);
}

// All gradients of sum(dout * out) by differences; sizes are small because a difference costs a whole forward.
TEST(attention_backward_matches_differences) {
  ThreadPool pool(2);
  for (const Case& c : {Case(2, 1, 8, {1, 5}), Case(3, 3, 6, {7}), Case(1, 1, 2, {66}), Case(2, 1, 8, {9}, 3)}) {
    const Gradients g = backward(best(), pool, c, forward(best(), pool, c));
    const auto loss = [&](const Qkv& x) {
      Doubles out, lse;
      reference(c, x, out, lse);
      return dot(out, c.dout);
    };
    const Qkv x = inputs(c);
    CHECK_ALL_NEAR(g.dq, numeric_gradient(x.q, [&](const Doubles& q) { return loss({q, x.k, x.v}); }), 2e-6);
    CHECK_ALL_NEAR(g.dk, numeric_gradient(x.k, [&](const Doubles& k) { return loss({x.q, k, x.v}); }), 2e-6);
    CHECK_ALL_NEAR(g.dv, numeric_gradient(x.v, [&](const Doubles& v) { return loss({x.q, x.k, v}); }), 2e-6);
  }
}

// The gradient formula in double, for lengths that are too long for differences: with p the weights and delta = dout . out,
// dv = p^T dout, ds = p (dout . v - delta) scale, dq = ds k, dk = ds^T q.
void reference_gradient_row(const Case& c, const Qkv& x, int64_t start, int64_t row, int64_t head, const Doubles& out,
                            const Doubles& lse, Qkv& g) {
  const double scale = 1 / std::sqrt(static_cast<double>(c.D));
  const int64_t at = (row * c.heads + head) * c.D, kv_head = head / (c.heads / c.kv_heads);
  double delta = 0;
  start = c.first_key(start, row);
  for (int64_t d = 0; d < c.D; ++d) delta += static_cast<double>(c.dout[at + d]) * out[at + d];
  for (int64_t key = start; key <= row; ++key) {
    const int64_t kv = (key * c.kv_heads + kv_head) * c.D;
    double score = 0, dp = 0;
    for (int64_t d = 0; d < c.D; ++d) {
      score += x.q[at + d] * x.k[kv + d] * scale;
      dp += static_cast<double>(c.dout[at + d]) * x.v[kv + d];
    }
    const double p = std::exp(score - lse[row * c.heads + head]), ds = p * (dp - delta) * scale;
    for (int64_t d = 0; d < c.D; ++d) {
      g.v[kv + d] += p * static_cast<double>(c.dout[at + d]);
      g.q[at + d] += ds * x.k[kv + d];
      g.k[kv + d] += ds * x.q[at + d];
    }
  }
}

TEST(attention_backward_matches_the_formula_on_long_sequences) {
  ThreadPool pool(2);
  for (const Case& c :
       {Case(4, 2, 24, kLengths), Case(3, 1, 64, {130, 2}), Case(7, 1, 16, {129}), Case(2, 1, 136, {65}), Case(17, 1, 8, {70}),
        Case(4, 2, 24, kLengths, 40), Case(3, 1, 8, {300}, 64), Case(2, 2, 16, {200}, 1), Case(1, 1, 4, {260}, 130)}) {
    const Gradients g = backward(best(), pool, c, forward(best(), pool, c));
    const Qkv x = inputs(c);
    Qkv want{Doubles(x.q.size()), Doubles(x.k.size()), Doubles(x.v.size())};
    Doubles out, lse;
    reference(c, x, out, lse);
    for (size_t s = 0; s < c.lengths.size(); ++s)
      for (int64_t row = c.start(s); row < c.start(s) + c.lengths[s]; ++row)
        for (int64_t h = 0; h < c.heads; ++h) reference_gradient_row(c, x, c.start(s), row, h, out, lse, want);
    CHECK_ALL_NEAR(g.dq, want.q, 3e-6);
    CHECK_ALL_NEAR(g.dk, want.k, 3e-6);
    CHECK_ALL_NEAR(g.dv, want.v, 3e-6);
  }
}

TEST(attention_has_the_same_bits_everywhere) {
  for (const Case& c : {Case(4, 2, 24, kLengths), Case(3, 1, 64, {130, 2}), Case(2, 1, 8, std::vector<int64_t>(40, 3)),
                        Case(8, 4, 16, {150, 33}), Case(3, 3, 32, {96, 5}), Case(7, 1, 80, {70}), Case(17, 1, 136, {37}),
                        Case(4, 2, 24, {190, 3}, 33), Case(3, 3, 8, {300}, 100)})
    SAME_EVERYWHERE([&](const Kernels& kernels, ThreadPool& pool) {
      const Forward f = forward(kernels, pool, c);
      const Gradients g = backward(kernels, pool, c, f);
      Floats all = f.out;
      for (const Floats* part : {&f.lse, &g.dq, &g.dk, &g.dv}) append(all, *part);
      return all;
    });
}

// The first sequence in chunks, as the generator hands them over: written to the cache first, then attended. Returns out and
// lse.
Floats in_chunks(const Kernels& kernels, const Case& c, const std::vector<int64_t>& chunks) {
  ThreadPool pool(2);
  Floats store = c.store(), out, lse;
  int64_t position = 0;
  for (const int64_t count : chunks) {
    const std::vector<Span> span = {{0, count, position, c.blocks[0].data()}};
    const int64_t kv_row = c.kv_heads * c.D, q_row = c.heads * c.D;
    Floats part(count * q_row, kNan), part_lse(count * c.heads, kNan);
    kernels.kv_write(pool, store.data(), c.k.data() + position * kv_row, c.v.data() + position * kv_row, c.args(span));
    kernels.attention_forward(pool, part.data(), part_lse.data(), c.q.data() + position * q_row, store.data(), c.args(span));
    append(out, part);
    append(lse, part_lse);
    position += count;
  }
  append(out, lse);
  return out;
}
Floats at_once(const Kernels& kernels, const Case& c) {
  ThreadPool pool(2);
  const Forward f = forward(kernels, pool, c);
  Floats all = f.out;
  append(all, f.lse);
  return all;
}
std::vector<int64_t> one_by_one(int64_t n) { return std::vector<int64_t>(static_cast<size_t>(n), 1); }
// `first`, then `step` at a time up to n.
std::vector<int64_t> steps(int64_t first, int64_t step, int64_t n) {
  std::vector<int64_t> chunks = {std::min(first, n)};
  for (int64_t at = first; at < n; at += step) chunks.push_back(std::min(step, n - at));
  return chunks;
}

TEST(attention_token_by_token_has_the_bits_of_prefill) {
  for (const Case& c : {Case(4, 2, 24, {130}), Case(3, 1, 64, {130}), Case(14, 2, 8, {130}), Case(14, 2, 8, {130}, 20),
                        Case(3, 1, 64, {130}, 70)}) {
    const Floats whole = at_once(best(), c);
    CHECK_BITS(in_chunks(best(), c, one_by_one(130)), whole);
    CHECK_BITS(in_chunks(best(), c, {50, 80}), whole);
    CHECK_BITS(in_chunks(best(), c, {63, 1, 1, 64, 1}), whole);
  }
}

// Head dimensions and groups that take every path: heads together and alone, one and two vectors of rows, partial steps.
TEST(attention_has_the_same_bits_for_every_shape_however_it_is_cut) {
  int64_t length = 131;
  for (const int64_t D : {4, 8, 16, 32, 64, 80, 128})
    for (const int64_t group : {1, 2, 3, 7, 9}) {
      const int64_t kv_heads = D <= 16 ? 5 : 2;
      length = 65 + (length * 37 + 11) % 136;  // 65 .. 200
      const int64_t window = (D + group) % 3 == 0 ? 1 + length * 5 % 90 : 0;
      const Case c(kv_heads * group, kv_heads, D, {length}, window);
      const Floats whole = in_chunks(best(), c, one_by_one(length));
      for (const Isa isa : isas()) {
        CHECK_BITS(at_once(cpu_kernels(isa), c), whole);
        CHECK_BITS(in_chunks(cpu_kernels(isa), c, one_by_one(length)), whole);
      }
      for (const int64_t first : {5, 63, 64, 70}) CHECK_BITS(in_chunks(best(), c, steps(first, length, length)), whole);
      for (const int64_t step : {2, 3, 7, 8, 9, 33}) CHECK_BITS(in_chunks(best(), c, steps(1, step, length)), whole);
    }
}

TEST(attention_has_the_same_bits_at_every_length) {
  for (const Case& c : {Case(10, 5, 8, {200}), Case(3, 3, 32, {200}), Case(10, 5, 8, {200}, 50)}) {
    const int64_t q_row = c.heads * c.D;
    const Floats whole = in_chunks(best(), c, one_by_one(200));
    for (int64_t length = 1; length <= 200; ++length) {
      const Floats rows = in_chunks(best(), c, {length});
      CHECK_BITS(slice(rows, 0, length * q_row), slice(whole, 0, length * q_row));
      CHECK_BITS(slice(rows, length * q_row, length * c.heads), slice(whole, 200 * q_row, length * c.heads));
    }
  }
}

// Spans of one call: decoding, short and long ones, of which the last is long enough to be cut into tasks.
TEST(attention_of_a_span_does_not_depend_on_the_others_of_a_call) {
  const Case c(4, 2, 8, {70, 3, 1, 64, 40, 900});
  ThreadPool pool(3);
  const Forward whole = forward(best(), pool, c);
  std::vector<Span> spans = c.spans();
  for (size_t s = 0; s < spans.size(); ++s) {
    const int64_t skip = c.lengths[s] - std::min(c.lengths[s], std::vector<int64_t>{1, 3, 1, 1, 33, 890}[s]);
    spans[s].row += skip;
    spans[s].count -= skip;
    spans[s].position = skip;
  }
  Floats out(c.q.size(), kNan), lse(c.T * c.heads, kNan);
  best().attention_forward(pool, out.data(), lse.data(), c.q.data(), whole.store.data(), c.args(spans));
  const int64_t q_row = c.heads * c.D;
  for (const Span& span : spans) {
    CHECK_BITS(slice(out, span.row * q_row, span.count * q_row), slice(whole.out, span.row * q_row, span.count * q_row));
    CHECK_BITS(slice(lse, span.row * c.heads, span.count * c.heads),
               slice(whole.lse, span.row * c.heads, span.count * c.heads));
  }
}

// Scores so far apart that weights span everything the exponential can give.
TEST(attention_weights_have_the_same_bits_at_any_distance) {
  Case c(4, 2, 8, {150, 9});
  for (float& x : c.q) x *= 20;
  const Floats want = SAME_EVERYWHERE([&](const Kernels& kernels, ThreadPool& pool) {
    const Forward f = forward(kernels, pool, c);
    const Gradients g = backward(kernels, pool, c, f);
    Floats all = f.out;
    for (const Floats* part : {&f.lse, &g.dq, &g.dk, &g.dv}) append(all, *part);
    return all;
  });
  for (const float x : want) CHECK(std::isfinite(x));
  Doubles out, lse;
  reference(c, inputs(c), out, lse);
  CHECK_ALL_NEAR(slice(want, 0, static_cast<int64_t>(out.size())), out, 5e-5);  // scores of 100 carry errors of 1e-5
}

// Each sequence alone, in blocks of its own, against the packed batch.
TEST(attention_of_a_sequence_does_not_depend_on_the_batch) {
  ThreadPool pool(2);
  const Case c(4, 2, 24, kLengths);
  const Forward all = forward(best(), pool, c);
  const Gradients gradients = backward(best(), pool, c, all);
  for (size_t s = 0; s < c.lengths.size(); ++s) {
    Case one(4, 2, 24, {c.lengths[s]});
    const int64_t q_row = c.heads * c.D, kv_row = c.kv_heads * c.D, at = c.start(s), n = c.lengths[s];
    one.q = slice(c.q, at * q_row, n * q_row);
    one.k = slice(c.k, at * kv_row, n * kv_row);
    one.v = slice(c.v, at * kv_row, n * kv_row);
    one.dout = slice(c.dout, at * q_row, n * q_row);
    const Forward f = forward(best(), pool, one);
    const Gradients g = backward(best(), pool, one, f);
    CHECK_BITS(f.out, slice(all.out, at * q_row, n * q_row));
    CHECK_BITS(g.dq, slice(gradients.dq, at * q_row, n * q_row));
    CHECK_BITS(g.dk, slice(gradients.dk, at * kv_row, n * kv_row));
    CHECK_BITS(g.dv, slice(gradients.dv, at * kv_row, n * kv_row));
  }
}

// Two sequences that share their first block, as samples of one prompt do.
TEST(attention_reads_shared_prefix_blocks) {
  ThreadPool pool(2);
  Case c(2, 1, 16, {70, 70});
  const int64_t kv_row = c.kv_heads * c.D;
  std::copy_n(c.k.begin(), 64 * kv_row, c.k.begin() + 70 * kv_row);
  std::copy_n(c.v.begin(), 64 * kv_row, c.v.begin() + 70 * kv_row);
  const Floats own = forward(best(), pool, c).out;
  c.blocks[1][0] = c.blocks[0][0];
  CHECK_BITS(forward(best(), pool, c).out, own);
}

TEST(kv_write_puts_rows_where_the_shape_says) {
  ThreadPool pool(2);
  const Case c(2, 2, 24, {66});
  const Floats store = forward(best(), pool, c).store;
  const KvShape kv = c.kv();
  for (const int64_t position : {0, 5, 63, 64, 65})
    for (int64_t h = 0; h < 2; ++h)
      for (int64_t d = 0; d < c.D; ++d) {
        const int64_t head = c.blocks[0][position / kKeyTile] * kv.block_elements() + h * kv.head_elements();
        const int64_t from = (position * c.kv_heads + h) * c.D + d, slot = position % kKeyTile;
        CHECK(store[head + (slot / kKeyGroup * c.D + d) * kKeyGroup + slot % kKeyGroup] == c.k[from]);
        CHECK(store[head + kv.key_elements() + slot * kv.head_dim + d] == c.v[from]);
      }
}

}  // namespace
}  // namespace zazen::test

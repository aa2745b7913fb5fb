// Attention on the emulated device. In f32 it has the bits of the CPU. In bf16 it is near the CPU's in f32 on the same values,
// and a row's bits are the same however its sequence was cut, batched or placed. KV blocks hold nothing before they are
// written, and the emulator refuses to read that.
#include <algorithm>
#include <cmath>

#include "attention_case.h"
#include "native/cuda/device.h"

namespace zazen::test {
namespace {

// Inputs that are bf16 already.
AttentionCase rounded_case(int64_t heads, int64_t kv_heads, int64_t D, const std::vector<int64_t>& lengths,
                           int64_t window = 0) {
  AttentionCase c(heads, kv_heads, D, lengths, window);
  for (Floats* x : {&c.q, &c.k, &c.v, &c.dout}) *x = as_bf16(*x);
  return c;
}

struct Rows {
  Floats out, lse;
};
struct Gradients {
  Floats dq, dk, dv;
};

// A case in device memory.
template <class E = bf16>
struct OnDevice {
  const AttentionCase& c;
  Device<int32_t> tables;
  std::vector<Span> spans;
  Device<E> q, k, v, store, out;
  Device<float> lse;

  explicit OnDevice(const AttentionCase& of)
      : c(of),
        tables(joined(of)),
        spans(of.spans()),
        q(typed<E>(of.q)),
        k(typed<E>(of.k)),
        v(typed<E>(of.v)),
        store(static_cast<size_t>(of.block_count * of.kv().block_elements())),
        out(of.q.size()),
        lse(static_cast<size_t>(of.T * of.heads)) {
    const int32_t* at = tables.data();
    for (size_t s = 0; s < spans.size(); ++s) {
      spans[s].blocks = at;
      at += c.blocks[s].size();
    }
  }
  static Ints joined(const AttentionCase& c) {
    Ints all;
    for (const Ints& table : c.blocks) all.insert(all.end(), table.begin(), table.end());
    return all;
  }
  void write(const std::vector<Span>& of) const { cuda::kv_write(no_threads(), store.data(), k.data(), v.data(), c.args(of)); }
  void attend(const std::vector<Span>& of) const {
    cuda::attention_forward(no_threads(), out.data(), lse.data(), q.data(), store.data(), c.args(of));
  }
  Rows rows() const { return {plain(out.values()), lse.values()}; }
  Rows forward() const {
    write(spans);
    attend(spans);
    return rows();
  }
  Gradients backward() const {
    const Device<float> dout(c.dout), dq(c.q.size()), dk(c.k.size()), dv(c.v.size());
    cuda::attention_backward(no_threads(), dq.data(), dk.data(), dv.data(), dout.data(), out.data(), lse.data(), q.data(),
                             store.data(), c.args(spans));
    return {dq.values(), dk.values(), dv.values()};
  }
  // The spans in chunks of these lengths, one after the other, each written before it is attended.
  Rows in_chunks(const std::vector<int64_t>& chunks) const {
    int64_t position = 0;
    for (const int64_t count : chunks) {
      const std::vector<Span> span = {{spans[0].row + position, count, position, spans[0].blocks}};
      write(span);
      attend(span);
      position += count;
    }
    return rows();
  }
};

void check_bits(int line, const Rows& got, const Rows& want) {
  harness::same_bits(__FILE__, line, got.out, want.out, "out");
  harness::same_bits(__FILE__, line, got.lse, want.lse, "lse");
}
#define CHECK_ROWS(got, want) check_bits(__LINE__, got, want)

struct OnHost {
  Floats store, out, lse;
  std::vector<Span> spans;

  explicit OnHost(const AttentionCase& c) : store(c.store()), out(c.q.size()), lse(c.T * c.heads), spans(c.spans()) {
    best().kv_write(no_threads(), store.data(), c.k.data(), c.v.data(), c.args(spans));
    best().attention_forward(no_threads(), out.data(), lse.data(), c.q.data(), store.data(), c.args(spans));
  }
  Gradients backward(const AttentionCase& c) const {
    Gradients g{Floats(c.q.size()), Floats(c.k.size()), Floats(c.v.size())};
    best().attention_backward(no_threads(), g.dq.data(), g.dk.data(), g.dv.data(), c.dout.data(), out.data(), lse.data(),
                              c.q.data(), store.data(), c.args(spans));
    return g;
  }
};

// Head dimensions of each padded one, aligned or not, groups that fill a tile of rows or not, few rows and many, windows.
std::vector<AttentionCase> cases() {
  return {rounded_case(2, 2, 64, kLengths), rounded_case(6, 2, 80, {1, 63, 65}),  rounded_case(7, 1, 128, {1, 2, 65}),
          rounded_case(1, 1, 128, {130}),   rounded_case(3, 1, 24, {130}, 40),    rounded_case(2, 1, 6, {9, 66}),
          rounded_case(1, 1, 256, {70, 2}), rounded_case(1, 1, 64, {5, 200}, 64), rounded_case(2, 2, 9, {70}, 1)};
}

// Weights and outputs are rounded to bf16: half a unit in the last of 8 places each. lse has no part in that.
constexpr double kForward = 5e-3, kLse = 2e-6;
// So are dout, weights and their gradients, and the latter are differences of numbers around 1 that are summed over keys.
constexpr double kBackward = 2e-2;

TEST(cuda_attention_forward_is_near_the_cpu) {
  for (const AttentionCase& c : cases()) {
    const Rows got = OnDevice<>(c).forward();
    const OnHost want(c);
    CHECK_ALL_NEAR(got.out, doubles(want.out), kForward);
    CHECK_ALL_NEAR(got.lse, doubles(want.lse), kLse);
  }
}

TEST(cuda_attention_forward_needs_no_lse) {
  const AttentionCase c = rounded_case(2, 1, 64, {9});
  const OnDevice<> device(c);
  const Rows want = device.forward();
  const Device<bf16> out(c.q.size());
  cuda::attention_forward(no_threads(), out.data(), nullptr, device.q.data(), device.store.data(), c.args(device.spans));
  CHECK_BITS(widened(out.values()), want.out);
}

TEST(cuda_attention_backward_is_near_the_cpu) {
  for (const AttentionCase& c : cases()) {
    const OnDevice<> device(c);
    device.forward();
    const Gradients got = device.backward(), want = OnHost(c).backward(c);
    CHECK_ALL_NEAR(got.dq, doubles(want.dq), kBackward);
    CHECK_ALL_NEAR(got.dk, doubles(want.dk), kBackward);
    CHECK_ALL_NEAR(got.dv, doubles(want.dv), kBackward);
  }
}

std::vector<int64_t> one_by_one(int64_t n) { return std::vector<int64_t>(static_cast<size_t>(n), 1); }

TEST(cuda_attention_token_by_token_has_the_bits_of_prefill) {
  for (const AttentionCase& c :
       {rounded_case(3, 1, 64, {130}), rounded_case(7, 1, 64, {130}, 70), rounded_case(2, 1, 128, {67})}) {
    const Rows whole = OnDevice<>(c).forward();
    CHECK_ROWS(OnDevice<>(c).in_chunks(one_by_one(c.T)), whole);
    CHECK_ROWS(OnDevice<>(c).in_chunks({50, c.T - 50}), whole);
    CHECK_ROWS(OnDevice<>(c).in_chunks({63, 1, 1, 1, c.T - 66}), whole);
  }
}

// Scores so far apart that a row's sums are rescaled to nothing, and keys outside of its window that would win.
TEST(cuda_attention_has_the_same_bits_at_any_distance) {
  for (const int64_t window : {0, 66}) {
    AttentionCase c = rounded_case(3, 1, 64, {150}, window);
    for (float& x : c.q) x *= 64;
    const Rows whole = OnDevice<>(c).forward();
    const OnHost host(c);
    CHECK_ALL_NEAR(whole.out, doubles(host.out), kForward);
    CHECK_ALL_NEAR(whole.lse, doubles(host.lse), kLse);
    CHECK_ROWS(OnDevice<>(c).in_chunks(one_by_one(150)), whole);
  }
}

// The spans of a call: in another order, in other blocks, decoding rows among long ones, and each alone.
TEST(cuda_attention_of_a_span_does_not_depend_on_the_others) {
  AttentionCase c = rounded_case(4, 2, 64, {70, 3, 1, 64, 140});
  const OnDevice<> device(c);
  const Rows want = device.forward();
  OnDevice<> other(c);
  std::reverse(other.spans.begin(), other.spans.end());
  CHECK_ROWS(other.forward(), want);
  for (const Span& span : other.spans) other.attend({span});
  CHECK_ROWS(other.rows(), want);
  int32_t next = 0;
  for (Ints& table : c.blocks)
    for (int32_t& block : table) block = next++;
  CHECK_ROWS(OnDevice<>(c).forward(), want);
  std::vector<Span> tails = device.spans;
  for (Span& span : tails) {
    const int64_t skip = span.count > 64 ? span.count - 1 : span.count / 2;
    span = {span.row + skip, span.count - skip, skip, span.blocks};
  }
  device.attend(tails);
  CHECK_ROWS(device.rows(), want);
}

TEST(cuda_attention_gradients_of_a_span_do_not_depend_on_the_others) {
  const AttentionCase c = rounded_case(3, 1, 64, {70, 3, 130});
  OnDevice<> device(c);
  device.forward();
  const Gradients want = device.backward();
  std::reverse(device.spans.begin(), device.spans.end());
  const Gradients got = device.backward();
  CHECK_BITS(got.dq, want.dq);
  CHECK_BITS(got.dk, want.dk);
  CHECK_BITS(got.dv, want.dv);
}

TEST(cuda_attention_f32_has_the_bits_of_the_cpu) {
  for (const AttentionCase& c : {AttentionCase(4, 2, 24, {1, 63, 65}), AttentionCase(3, 1, 64, {70}, 40),
                                 AttentionCase(1, 1, 72, {130}), AttentionCase(2, 1, 5, {9, 66})}) {
    const OnDevice<float> device(c);
    const OnHost host(c);
    CHECK_ROWS(device.forward(), (Rows{host.out, host.lse}));
    const Gradients got = device.backward(), want = host.backward(c);
    CHECK_BITS(got.dq, want.dq);
    CHECK_BITS(got.dk, want.dk);
    CHECK_BITS(got.dv, want.dv);
    if (c.lengths.size() == 1) CHECK_ROWS(OnDevice<float>(c).in_chunks(one_by_one(c.T)), (Rows{host.out, host.lse}));
  }
}

// Two sequences that share their first block, as samples of one prompt do.
TEST(cuda_attention_reads_shared_prefix_blocks) {
  AttentionCase c = rounded_case(2, 1, 64, {70, 70});
  const int64_t kv_row = c.kv_heads * c.D;
  std::copy_n(c.k.begin(), 64 * kv_row, c.k.begin() + 70 * kv_row);
  std::copy_n(c.v.begin(), 64 * kv_row, c.v.begin() + 70 * kv_row);
  const Rows own = OnDevice<>(c).forward();
  const OnDevice<> shared(c);
  shared.write({shared.spans[0]});
  shared.write({{shared.spans[1].row + 64, 6, 64, shared.spans[1].blocks}});
  const Device<int32_t> table(Ints{c.blocks[0][0], c.blocks[1][1]});
  shared.attend({shared.spans[0], {shared.spans[1].row, 70, 0, table.data()}});
  CHECK_ROWS(shared.rows(), own);
}

TEST(cuda_attention_takes_more_spans_than_a_launch) {
  const AttentionCase c = rounded_case(1, 1, 8, std::vector<int64_t>(170, 2));
  const OnDevice<> device(c);
  const Rows got = device.forward();
  const OnHost want(c);
  CHECK_ALL_NEAR(got.out, doubles(want.out), kForward);
  const Gradients gradients = device.backward(), host = want.backward(c);
  CHECK_ALL_NEAR(gradients.dq, doubles(host.dq), kBackward);
  CHECK_ALL_NEAR(gradients.dk, doubles(host.dk), kBackward);
  CHECK_ALL_NEAR(gradients.dv, doubles(host.dv), kBackward);
}

template <class E>
void rows_lie_where_the_shape_says(int64_t D) {
  const AttentionCase c = rounded_case(2, 2, D, {3, 66});
  const KvShape kv = c.kv();
  const Device<E> k(typed<E>(c.k)), v(typed<E>(c.v));
  const Device<E> store(typed<E>(Floats(static_cast<size_t>(c.block_count * kv.block_elements()), 0.5f)));
  const OnDevice<> device(c);
  cuda::kv_write(no_threads(), store.data(), k.data(), v.data(), c.args(device.spans));
  const Floats got = plain(store.values());
  for (const int64_t position : {0, 5, 63, 64, 65})
    for (int64_t h = 0; h < 2; ++h)
      for (int64_t d = 0; d < D; ++d) {
        const int64_t head = c.blocks[1][position / kKeyTile] * kv.block_elements() + h * kv.head_elements();
        const int64_t from = ((3 + position) * c.kv_heads + h) * D + d, slot = position % kKeyTile;
        CHECK(got[head + kv.key_index(slot, d, KvLayout::rows)] == c.k[from]);
        CHECK(got[head + kv.key_elements() + slot * D + d] == c.v[from]);
      }
  CHECK(std::count(got.begin(), got.end(), 0.5f) >= c.block_count * KvShape::kTail);
}

TEST(cuda_kv_write_puts_rows_where_the_shape_says) {
  rows_lie_where_the_shape_says<bf16>(24);
  rows_lie_where_the_shape_says<bf16>(7);
  rows_lie_where_the_shape_says<float>(24);
}

}  // namespace
}  // namespace zazen::test

// Attention of training, forward and backward with the keys and values written to their blocks, at the heads of Qwen2.5-7B.
#pragma once

#include "case.cuh"

namespace zazen::bench {

constexpr int64_t kQueryHeads = 28, kKvHeads = 4, kAttentionDim = 128, kCheckedPositions = 128;

// One span for each sequence; the blocks of a sequence lie one after the other.
struct Sequences {
  std::vector<int32_t> ids;
  DeviceBuffer<int32_t> device_ids;
  std::vector<Span> spans;
  KvShape kv{kKvHeads, kAttentionDim};

  // `on_device`: for the CUDA kernels, which read the blocks' numbers there.
  Sequences(int64_t count, int64_t length, bool on_device) {
    const int64_t blocks = ceil_div(length, kKeyTile);
    for (int64_t i = 0; i < count * blocks; ++i) ids.push_back(static_cast<int32_t>(i));
    if (on_device) device_ids = DeviceBuffer<int32_t>(ids);
    const int32_t* first = on_device ? device_ids.data() : ids.data();
    for (int64_t s = 0; s < count; ++s) spans.push_back({s * length, length, 0, first + s * blocks});
  }
  AttentionArgs args() const {
    const float scale = 1.0f / std::sqrt(static_cast<float>(kAttentionDim));
    return {kv, kQueryHeads, 0, scale, spans.data(), static_cast<int64_t>(spans.size())};
  }
  int64_t elements() const { return static_cast<int64_t>(ids.size()) * kv.block_elements(); }
};

struct AttentionAnswer {
  std::vector<bf16> out;
  std::vector<float> dq;
};

// Of the first positions of the first sequence, which see none but each other.
inline AttentionAnswer attention_on_cpu(const bf16* q, const bf16* k, const bf16* v, const float* dout) {
  const Sequences part(1, kCheckedPositions, false);
  const int64_t queries = kCheckedPositions * kQueryHeads * kAttentionDim, keys = kCheckedPositions * kKvHeads * kAttentionDim;
  const std::vector<bf16> qs = first_of(q, queries), ks = first_of(k, keys), vs = first_of(v, keys);
  const std::vector<float> douts = first_of(dout, queries);
  std::vector<bf16> store(static_cast<size_t>(part.elements()));
  std::vector<float> lse(kCheckedPositions * kQueryHeads), dk(keys), dv(keys);
  AttentionAnswer answer{std::vector<bf16>(queries), std::vector<float>(queries)};
  cpu().kv_write(pool(), store.data(), ks.data(), vs.data(), part.args());
  cpu().attention_forward(pool(), answer.out.data(), lse.data(), qs.data(), store.data(), part.args());
  cpu().attention_backward(pool(), answer.dq.data(), dk.data(), dv.data(), douts.data(), answer.out.data(), lse.data(),
                           qs.data(), store.data(), part.args());
  return answer;
}

inline void attention_case(int64_t count, int64_t length) {
  const Sequences all(count, length, true);
  const int64_t T = count * length, queries = T * kQueryHeads * kAttentionDim, keys = T * kKvHeads * kAttentionDim;
  const DeviceBuffer<bf16> q = noise<bf16>(queries, 1), k = noise<bf16>(keys, 2), v = noise<bf16>(keys, 3), out(queries);
  const DeviceBuffer<bf16> store = noise<bf16>(all.elements(), 4);
  const DeviceBuffer<float> lse(T * kQueryHeads), dout = noise<float>(queries, 5), dq(queries), dk(keys), dv(keys);
  const auto both = [&] {
    cuda::kv_write(pool(), store.data(), k.data(), v.data(), all.args());
    cuda::attention_forward(pool(), out.data(), lse.data(), q.data(), store.data(), all.args());
    cuda::attention_backward(pool(), dq.data(), dk.data(), dv.data(), dout.data(), out.data(), lse.data(), q.data(),
                             store.data(), all.args());
  };
  both();
  const AttentionAnswer want = attention_on_cpu(q.data(), k.data(), v.data(), dout.data());
  Case c{"attention forward and backward", text(count, " x ", length), "bfloat16"};
  c.error = std::fmax(error_of(first_of(out.data(), static_cast<int64_t>(want.out.size())), want.out),
                      error_of(first_of(dq.data(), static_cast<int64_t>(want.dq.size())), want.dq));
  c.tolerance = 2 * kBf16Tolerance;  // weights are rounded to bf16 on the GPU
  // Two products forward and five backward, of which a causal mask leaves half.
  c.flops = 7.0 * static_cast<double>(T * length) * static_cast<double>(kQueryHeads * kAttentionDim);
  c.seconds = seconds_of(both);
  report(c);
}

inline void attention_cases() {
  attention_case(8, 1024);
  attention_case(2, 4096);
}

}  // namespace zazen::bench

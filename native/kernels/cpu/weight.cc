// Weights in panels as other weights: transposed for the gradient of the input, and rounded from their f32 masters.
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/simd_transpose.h"
#include "kernels/cpu/tile.h"

namespace zazen::ZAZEN_ISA {
namespace {

constexpr int64_t kPairRows = 2 * kPanel;  // elements of two rows of a panel, which become one of pairs

void transpose_panel(float* out, const float* w, int64_t q, int64_t first, int64_t count, int64_t K) {
  const int64_t k0 = q * kPanel, columns = least(kPanel, K - k0);
  float* target = out + q * count * kPanel;
  for (int64_t n = 0; n < count; n += kPanel)
    transpose(target + n * kPanel, kPanel, w + panel_index(first + n, k0, K), kPanel, columns, least(kPanel, count - n));
}

// Two rows of pairs (even k, odd k) of outputs n and n + 1 become one row of pairs (n, n + 1) of all k.
void exchange(uint32_t* out, const uint32_t* even, const uint32_t* odd, int64_t pairs) {
  for (int64_t i = 0; i < pairs; ++i) {
    out[2 * i] = (even[i] & 0xFFFF) | odd[i] << 16;
    out[2 * i + 1] = even[i] >> 16 | (odd[i] & kUpperHalf);
  }
}

// The same in panels of pairs: words are transposed, then their halves exchanged.
void transpose_pair_panel(uint32_t* out, const float* w, int64_t q, int64_t first, int64_t count, int64_t K) {
  constexpr int64_t kPairs = kPanel / 2;
  const uint32_t zeros[kPairs] = {};
  uint32_t words[kPanel * kPairs];  // [n][pair of k]
  const int64_t depth = panel_depth(K, DType::bf16), k0 = q * kPanel, pairs = least(kPairs, (depth - k0) / 2);
  uint32_t* target = out + q * panel_depth(count, DType::bf16) / 2 * kPanel;
  for (int64_t n = 0; n < count; n += kPanel) {
    const float* from = w + (first + n) * depth / 2 + k0 / 2 * kPanel;
    transpose(reinterpret_cast<float*>(words), kPairs, from, kPanel, pairs, kPanel);
    for (int64_t j = 0; j < least(kPanel, count - n); j += 2)
      exchange(target + (n + j) / 2 * kPanel, words + j * kPairs, n + j + 1 < count ? words + (j + 1) * kPairs : zeros, pairs);
  }
}

}  // namespace

void weight_transpose(ThreadPool& pool, TensorRef out, TensorView w, int64_t first, int64_t count, int64_t K) {
  parallel_for(pool, ceil_div(K, kPanel), [&](int64_t q) {
    if (w.type == DType::bf16)
      transpose_pair_panel(out.as<uint32_t>(), w.as<float>(), q, first, count, K);
    else
      transpose_panel(out.as<float>(), w.as<float>(), q, first, count, K);
  });
}

void weight_round(ThreadPool& pool, TensorRef out, const float* master, int64_t n, bool panels) {
  parallel_pieces(pool, n, task_items(1, kPairRows), [&](int64_t begin, int64_t end) {
    auto* words = reinterpret_cast<float*>(out.as<bf16>() + begin);
    const float* from = master + begin;
    if (!panels)
      return for_lanes(end - begin,
                       [&](int64_t i, auto lanes) { lanes.store(out.as<bf16>() + begin + i, lanes.load(from + i)); });
    for (int64_t i = 0; i < end - begin; i += kPairRows)
      for (int64_t v = 0; v < kPanel; v += kLanes)
        store(words + i / 2 + v, pair_bf16(load(from + i + kPanel + v), load(from + i + v)));
  });
}

}  // namespace zazen::ZAZEN_ISA

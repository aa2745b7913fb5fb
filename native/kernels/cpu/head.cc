// Log-probs, entropies and their gradients over rows of logits. The matmul that makes the logits, and the cutting into chunks,
// are the caller's.
#include "kernels/cpu/ops.h"
#include "kernels/cpu/softmax_row.h"

namespace zazen::ZAZEN_ISA {
namespace {

constexpr int64_t kExpWork = 4;  // an exponential, in element operations

struct RowGradient {
  float lse, entropy, dlogp, dentropy, inverse;  // inverse = 1 / temperature
};

// d loss / d raw z = (dlogp (1[v = target] - p) - dentropy p (z - lse + H)) / T, with p = exp(z - lse).
void backward_row(float* z, int64_t target, const RowGradient& row, int64_t V) {
  const float chosen = z[target] - row.lse, p_chosen = exp(chosen);
  for_lanes(V, [&](int64_t i, auto lanes) {
    const F32x16 logp = lanes.load(z + i) - set1(row.lse);
    const F32x16 slope = set1(row.dentropy) * (logp + set1(row.entropy)) + set1(row.dlogp);
    lanes.store(z + i, zero() - exp(logp) * slope * set1(row.inverse));
  });
  z[target] = (row.dlogp * (1.0f - p_chosen) - p_chosen * (row.dentropy * (chosen + row.entropy))) * row.inverse;
}

// Insertion into a sorted list of k; a later id never passes an equal value.
void top_row(int32_t* ids, float* values, const float* z, int64_t k, int64_t V) {
  int64_t count = 0;
  for (int64_t v = 0; v < V; ++v) {
    if (count == k && !(z[v] > values[k - 1])) continue;
    int64_t at = count < k ? count++ : k - 1;
    for (; at > 0 && z[v] > values[at - 1]; --at) {
      values[at] = values[at - 1];
      ids[at] = ids[at - 1];
    }
    values[at] = z[v];
    ids[at] = static_cast<int32_t>(v);
  }
}

}  // namespace

void head_forward(ThreadPool& pool, float* logits, int64_t ld, const int32_t* targets, float temperature, float* logp,
                  float* lse, float* entropy, int64_t R, int64_t V) {
  const float scale = 1.0f / temperature;
  parallel_pieces(pool, R, task_items(kExpWork * V), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const RowSoftmax row = softmax_row(logits + r * ld, V, scale, nullptr);
      lse[r] = row.lse;
      if (logp) logp[r] = logits[r * ld + targets[r]] - row.lse;
      if (entropy) entropy[r] = row_entropy(row);
    }
  });
}

void head_backward(ThreadPool& pool, float* logits, int64_t ld, const int32_t* targets, const float* lse, const float* entropy,
                   const float* dlogp, const float* dentropy, float temperature, int64_t R, int64_t V) {
  const int64_t padded = ceil_div(V, kPanel) * kPanel, columns = padded < ld ? padded : ld;
  const float inverse = 1.0f / temperature;
  parallel_pieces(pool, R, task_items(kExpWork * V), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      float* z = logits + r * ld;
      const RowGradient row{lse[r], dentropy ? entropy[r] : 0.0f, dlogp[r], dentropy ? dentropy[r] : 0.0f, inverse};
      backward_row(z, targets[r], row, V);
      for (int64_t v = V; v < columns; ++v) z[v] = 0.0f;
    }
  });
}

void head_top(ThreadPool& pool, int32_t* ids, float* logprobs, const float* logits, int64_t ld, const float* lse, int64_t k,
              int64_t R, int64_t V) {
  if (k <= 0) return;
  parallel_pieces(pool, R, task_items(V), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      float* values = logprobs + r * k;
      top_row(ids + r * k, values, logits + r * ld, k, V);
      for (int64_t i = 0; i < k; ++i) values[i] = values[i] - lse[r];
    }
  });
}

}  // namespace zazen::ZAZEN_ISA

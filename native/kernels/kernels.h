// The op table: every backend fills one `Kernels`, so the backends agree by construction.
//
// Shapes: T tokens or rows, K inputs and N outputs of a linear layer, H hidden, V vocabulary, D head dimension.
// Matrices are row-major; `ld` is the distance between rows in elements.
//
// Batch invariance (the law behind it: a row's bits must not depend on its neighbours):
//  - linear: every output is one chain of fused multiply-adds over the inner index in ascending order, starting from
//    zero, or from the value already in the output when a kernel accumulates. So a gradient accumulated over two
//    calls has the bits of one call over the joined tokens.
//  - row reductions: 16 lane sums (lane i takes elements i, i+16, ...), then one fixed tree over the lanes.
//  - gradients of shared vectors (norm weight, embedding rows) add tokens in ascending order.
//  - attention: 64-key tiles at absolute positions, online softmax in tile order.
//
// Types: what the model stores between ops (weights, activations, keys and values) is f32 or bf16, and comes as a TensorView or
// TensorRef. All arithmetic, every sum and all else is f32: the residual stream, logits, log-probs, gradients and masters of
// weights. Results are rounded to bf16 when they are stored, to nearest with ties to even.
//
// A table says how its backend keeps the weights of linear layers. On the device W [N, K] is row-major, and so are its master,
// gradient and moments. On the CPU it lives in panels: ceil(N / 32) of them, each [K][32], zero-padded. That is the layout in
// which a matmul reads them at any number of rows, so nothing is packed at run time. In bf16 K is padded to an even number, and
// inputs k and k + 1 lie side by side: [K / 2][32][2]. Their chains add the odd input of a pair before the even one, the order
// of the instruction for pairs, and take subnormal numbers for zero, as it does. Masters, gradients and moments of bf16 weights
// are f32 panels [K][32] with the same padding.
#pragma once

#include <cstdint>

#include "core/tensor.h"
#include "core/thread_pool.h"

namespace zazen {

constexpr int64_t kPanel = 32;        // output features in a weight panel
constexpr int64_t kKeyGroup = 16;     // positions whose keys lie side by side
constexpr int64_t kKeyTile = 64;      // keys in an attention tile, and positions in a KV block
constexpr int64_t kMaxHeadDim = 256;  // checked where the model is made

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
// Inputs in a panel, padding included.
inline int64_t panel_depth(int64_t K, DType type) { return type == DType::bf16 ? K + K % 2 : K; }
inline int64_t panel_elements(int64_t n, int64_t k, DType type = DType::f32) {
  return ceil_div(n, kPanel) * kPanel * panel_depth(k, type);
}
// Where W[n, k] lies in f32 panels of the given depth.
inline int64_t panel_index(int64_t n, int64_t k, int64_t depth) {
  return (n / kPanel) * kPanel * depth + k * kPanel + n % kPanel;
}
// The same in bf16 panels.
inline int64_t pair_index(int64_t n, int64_t k, int64_t depth) {
  return (n / kPanel) * kPanel * depth + k / 2 * 2 * kPanel + n % kPanel * 2 + k % 2;
}

enum class WeightLayout { rows, panels };

// Elements of a weight W [N, K], padding included; its master, gradient and moments have as many.
inline int64_t weight_elements(WeightLayout layout, int64_t N, int64_t K, DType type) {
  return layout == WeightLayout::rows ? N * K : panel_elements(N, K, type);
}
// Where W[n, k] lies among them.
inline int64_t weight_index(WeightLayout layout, int64_t n, int64_t k, int64_t K, DType type) {
  if (layout == WeightLayout::rows) return n * K + k;
  return type == DType::bf16 ? pair_index(n, k, panel_depth(K, type)) : panel_index(n, k, K);
}
// The same of its f32 master, gradient and moments.
inline int64_t gradient_index(WeightLayout layout, int64_t n, int64_t k, int64_t K, DType type) {
  return layout == WeightLayout::rows ? n * K + k : panel_index(n, k, panel_depth(K, type));
}

// The table of embeddings is row-major when it is its own parameter and in panels when it is tied to the head.
struct EmbeddingTable {
  TensorView data;
  bool panels;
  int64_t vocab, hidden;
};

// How a block holds the keys of one KV head. Values lie as rows [64][D] in both.
enum class KvLayout {
  groups,  // the CPU's: K^T in groups of 16 positions [4][D][16]
  rows,    // CUDA's: K [64][D]
};

// Keys and values of one layer in blocks of 64 positions. One block: for every KV head its keys, then its values. A part-filled
// block is read from its start, by the CPU in whole groups of keys. Lanes past a row of V are read there and have no use: they
// hold what comes next, and kTail elements come after the last row of a block.
struct KvShape {
  static constexpr int64_t kTail = 16;
  int64_t kv_heads, head_dim;
  int64_t padded_dim() const { return (head_dim + 15) / 16 * 16; }  // of rows in registers and scratch
  int64_t key_elements() const { return head_dim * kKeyTile; }
  // Where K[position][d] lies in its head's part of a block, position in 0 .. 63.
  int64_t key_index(int64_t position, int64_t d, KvLayout layout = KvLayout::groups) const {
    if (layout == KvLayout::rows) return position * head_dim + d;
    return (position / kKeyGroup * head_dim + d) * kKeyGroup + position % kKeyGroup;
  }
  int64_t head_elements() const { return 2 * key_elements(); }
  int64_t block_elements() const { return kv_heads * head_elements() + kTail; }
};

// A run of rows of one sequence: rows [row, row + count) hold positions [position, position + count), and blocks[i] is the
// KV block of positions [64 i, 64 i + 64). Spans are read by the host, `blocks` where the kernel runs: on a GPU it points to
// device memory.
struct Span {
  int64_t row;
  int64_t count;
  int64_t position;
  const int32_t* blocks;
};

struct AttentionArgs {
  KvShape kv;
  int64_t heads;      // query heads, a multiple of kv.kv_heads
  int64_t window;     // a row sees its own and the window - 1 positions before; 0: all before
  float scale;        // 1 / sqrt(head_dim)
  const Span* spans;  // [span_count]
  int64_t span_count;
};

// In double, because 1 - beta loses 1e-5 of its value when beta2 = 0.999 is a float.
struct AdamwArgs {
  double lr, beta1, beta2, eps, weight_decay;
  double bias1, bias2;    // 1 - beta^step
  double gradient_scale;  // clip factor, applied to the gradient as it is read
  int64_t step, first;    // number of the step, and of the first element: they key the rounding of bf16 weights and moments
  bool panels = false;    // bf16 weights lie in panels of pairs; gradients and moments as in f32 panels
};

// Both moments in 8 bits: codes of the dynamic map (quantization.h), signed of m, and the largest magnitude of every 256.
struct BlockMoments {
  uint8_t *m, *v;                // [n]
  float *m_largest, *v_largest;  // [ceil(n / 256)]
};

// Whose probability the ratio is of: a token's, or a whole sequence's, length-normalised (GSPO, Zheng et al. 2025, eq. 7).
enum class RatioLevel { token, sequence };
// clip: min(ratio A, clip(ratio) A) (Schulman et al. 2017, eq. 7). cispo: clip(ratio) A logp, the clipped ratio a constant
// (MiniMax-M1 2025, eq. 4).
enum class Objective { clip, cispo };
// Estimators of KL(policy || reference) from one sample, d = ref - logp (Schulman 2020, "Approximating KL divergence"):
// k1 = -d, k2 = d^2 / 2, k3 = exp(d) - d - 1.
enum class KlEstimator { k1, k2, k3 };

//   loss = sum_t weight_t * (-importance_t * surrogate_t + kl_coef * kl_t - entropy_coef * H_t)
// of the ratio exp(logp - sampler) or, over a sequence, exp(mean(logp - sampler)), clipped to 1 - clip_low .. 1 + clip_high.
// The gradient of a sequence's ratio goes through all of its tokens.
// dual_clip > 1 also bounds the clip objective for negative advantages: surrogate >= dual_clip * A (Ye et al. 2020, eq. 5);
// 0 is off.
// kl_max_log_ratio cuts d to +-, kl_max then a token's estimate to +-; beyond a bound its gradient is 0. 0 is off.
struct PolicyLossArgs {
  float clip_low, clip_high, dual_clip, kl_coef, entropy_coef;
  RatioLevel ratio = RatioLevel::token;
  Objective objective = Objective::clip;
  KlEstimator kl = KlEstimator::k3;
  float kl_max_log_ratio = 0, kl_max = 0;
};

struct PolicyLossInputs {
  const float *logp, *old, *advantages, *weights;  // [T]
  const float* ref = nullptr;                      // [T]; needed when kl_coef is not 0
  const float* entropy = nullptr;                  // [T]; needed when entropy_coef is not 0
  const float* sampler = nullptr;                  // [T], log-probs that the ratio is to; null: `old`
  const float* importance = nullptr;               // [T], a factor of the surrogate; null: 1
  const int32_t* cu_tokens = nullptr;              // [sequences + 1], 0 .. T; needed for the ratio of sequences
  int64_t sequences = 0;
};

// Sums over tokens with weight != 0, in double and in token order: over several calls they have the bits of one.
struct PolicyLossSums {
  double loss = 0, kl = 0, ratio = 0, clipped = 0, entropy = 0;  // loss is weighted; the others are plain sums
  double clipped_low = 0, clipped_high = 0;                      // of `clipped`: below, above; the dual clip is neither
  double max_abs_drift = 0;                                      // max |logp - old|
  int64_t tokens = 0;
};

//   loss = sum_p weight_p * (-(1 - label_smoothing) log sigmoid(m_p) - label_smoothing log sigmoid(-m_p))
// of the margins m = beta * ((logp_c - ref_c) - (logp_r - ref_r)), where log-probs are sums over a completion's tokens
// (Rafailov et al. 2023, eq. 7; with label smoothing Mitchell 2023, "A note on DPO with noisy preferences", eq. 3). Sequence 2
// p is the chosen one of pair p and 2 p + 1 the rejected one.
struct DpoLossArgs {
  float beta, label_smoothing = 0;
};

struct DpoLossInputs {
  const float *logp, *ref, *weights;  // [T]; a weight that is not 0 marks a token of the completion
  const int32_t* cu_tokens;           // [2 pairs + 1], 0 .. T
  const float* pair_weights;          // [pairs]; 0 leaves a pair out
  int64_t pairs;
};

// Sums over pairs with weight != 0, in double and in their order: over several calls they have the bits of one.
struct PairSums {
  double loss = 0;                            // weighted; the others are plain sums
  double chosen = 0, rejected = 0;            // rewards
  double chosen_logp = 0, rejected_logp = 0;  // of completions
  int64_t accurate = 0;                       // pairs whose chosen reward is the larger one
  int64_t pairs = 0;
};

//   loss = sum_p weight_p * (-log sigmoid(chosen_p - rejected_p - margin_p) + center_coef * (chosen_p + rejected_p)^2)
// (Bradley and Terry 1952; with margins Touvron et al. 2023, "Llama 2", eq. 2; the second term keeps scores around zero,
// Eisenstein et al. 2023, "Helping or herding?"). Scores lie in twos, the chosen one first.
struct BradleyTerryInputs {
  const float* scores;        // [2 pairs]
  const float* margins;       // [pairs]; null: 0
  const float* pair_weights;  // [pairs]; 0 leaves a pair out
  int64_t pairs;
};

//   loss = sum_t weight_t * max((value_t - return_t)^2, (clip(value_t) - return_t)^2) / 2
// with values clipped to old_t - clip .. old_t + clip (Schulman et al., PPO's reference code, 2017); a clip of 0 is off.
struct ValueLossInputs {
  const float *values, *returns, *weights;  // [T]
  const float* old;                         // [T]; null when clip is 0 and nobody asks for the drift
};

// Sums over tokens with weight != 0, in double and in token order: over several calls they have the bits of one.
struct ValueSums {
  double loss = 0;  // weighted; the others are plain sums
  double values = 0, returns = 0, squared_returns = 0;
  double errors = 0, squared_errors = 0;  // of return - value
  double max_abs_drift = 0;               // max |value - old|
  int64_t clipped = 0;                    // tokens whose clipped square is the larger one
  int64_t tokens = 0;
};

struct SamplingArgs {
  float temperature;      // 0: argmax, log-probs at temperature 1
  int64_t top_k;          // 0: off
  float top_p;            // 1: off; in (0, 1]
  const int32_t* banned;  // [banned_count] ids that are never sampled; at least one id must be left
  int64_t banned_count;
  float min_p = 0.0f;  // 0: off; ids below this share of the most probable one's probability go
  float repetition_penalty =
      1.0f;                        // 1: off; divides positive logits of ids seen, multiplies negative ones (Keskar et al. 2019)
  float presence_penalty = 0.0f;   // taken from the logit of an id that the completion has
  float frequency_penalty = 0.0f;  // taken for each time that it has it
};

// What belongs to one row.
struct SamplingRow {
  const SamplingArgs* args;
  float u;                            // in [0, 1)
  const int32_t* seen = nullptr;      // [seen_count] distinct ids of prompt and completion
  const int32_t* counts = nullptr;    // [seen_count] times that each is in the completion
  float* scratch = nullptr;           // [seen_count]
  int64_t seen_count = 0;             // 0 without penalties
  const uint64_t* allowed = nullptr;  // [ceil(V / 64)] bits of the ids that may be sampled, at least one; null: all
};

struct Kernels {
  const char* name;
  WeightLayout weight_layout;
  KvLayout kv_layout;  // of the blocks that kv_write writes

  // ---- matmul.cc
  // y [M, N] (row stride ldy) = x [M, K] (ldx) * W^T, or y += when `accumulate`, which needs an f32 y. With transposed weights
  // this is the gradient of the input: dx [M, K] = dy [M, N] * W. With bf16 weights an f32 x is rounded as it is read.
  void (*linear_forward)(ThreadPool&, TensorRef y, int64_t ldy, TensorView x, int64_t ldx, TensorView w, int64_t M, int64_t N,
                         int64_t K, bool accumulate);
  // Rows [first, first + count) of W [N, K] as the weight [K, count] of the transposed layer, in panels; `first` is a multiple
  // of the panel's 32.
  void (*weight_transpose)(ThreadPool&, TensorRef out, TensorView w, int64_t first, int64_t count, int64_t K);
  // dW (panels) += dy^T [N, M] * x [M, K]; the chain over M, in order, continues from what dW holds. With a bf16 x an f32 dy is
  // rounded as it is read, and dW has the padding of bf16 panels.
  void (*linear_backward_weight)(ThreadPool&, float* dw, TensorView dy, int64_t lddy, TensorView x, int64_t ldx, int64_t M,
                                 int64_t N, int64_t K);
  // bf16 weights from their f32 masters, n elements: as they lie, or panels (whole pairs of rows) that become panels of pairs.
  void (*weight_round)(ThreadPool&, TensorRef out, const float* master, int64_t n, bool panels);

  // ---- bias.cc
  // y [T, N] += b [N] in every row; db [N] += sum of dy [T, N] over tokens in order.
  void (*bias_forward)(ThreadPool&, TensorRef y, TensorView b, int64_t T, int64_t N);
  void (*bias_backward)(ThreadPool&, float* db, const float* dy, int64_t T, int64_t N);

  // ---- attention.cc
  // Writes rows of k, v [T, kv_heads * D] into the blocks of their spans, whose type is theirs.
  void (*kv_write)(ThreadPool&, TensorRef blocks, TensorView k, TensorView v, const AttentionArgs&);
  // out [T, heads * D], lse [T, heads] (may be null) from q [T, heads * D]; a row sees keys up to its own position.
  void (*attention_forward)(ThreadPool&, TensorRef out, float* lse, TensorView q, TensorView blocks, const AttentionArgs&);
  // dq [T, heads * D], dk, dv [T, kv_heads * D]. Every span must start at position 0.
  void (*attention_backward)(ThreadPool&, float* dq, float* dk, float* dv, const float* dout, TensorView out, const float* lse,
                             TensorView q, TensorView blocks, const AttentionArgs&);

  // ---- rmsnorm.cc
  // y [T, H] = x * rstd * w, rstd [T] = 1 / sqrt(mean(x^2) + eps).
  void (*rmsnorm_forward)(ThreadPool&, TensorRef y, float* rstd, TensorView x, TensorView w, int64_t T, int64_t H, float eps);
  // dx [T, H] = residual [T, H] + gradient of x; dx may be the residual.
  void (*rmsnorm_backward_input)(ThreadPool&, float* dx, const float* residual, const float* dy, TensorView x, TensorView w,
                                 const float* rstd, int64_t T, int64_t H);
  // dw [H] += sum over tokens in order.
  void (*rmsnorm_backward_weight)(ThreadPool&, float* dw, const float* dy, TensorView x, const float* rstd, int64_t T,
                                  int64_t H);

  // ---- rope.cc
  // Rotates x [T, heads * D] in place by positions [T]; rotate-half layout. cos, sin [positions, D / 2].
  // `sign` is +1 forward and -1 backward.
  void (*rope)(ThreadPool&, TensorRef x, const int32_t* positions, const float* cos, const float* sin, int64_t T, int64_t heads,
               int64_t D, float sign);

  // ---- swiglu.cc
  // y [T, I] = silu(gate) * up; the backward overwrites gate and up with their gradients.
  // All of one type, but for dy.
  void (*swiglu_forward)(ThreadPool&, TensorRef y, TensorView gate, TensorView up, int64_t T, int64_t I);
  void (*swiglu_backward)(ThreadPool&, TensorRef gate, TensorRef up, const float* dy, int64_t T, int64_t I);

  // ---- embedding.cc
  // x [T, H] = table[ids]; dtable [V, H] (row-major) += dx in token order. Ids are in range.
  void (*embedding_forward)(ThreadPool&, float* x, const EmbeddingTable&, const int32_t* ids, int64_t T);
  void (*embedding_backward)(ThreadPool&, float* dtable, const float* dx, const int32_t* ids, int64_t T, int64_t H);
  // out [R, H] = x[rows], both of one type, and its transpose: dx[rows] = dout (rows distinct).
  void (*gather_rows)(ThreadPool&, TensorRef out, TensorView x, const int32_t* rows, int64_t R, int64_t H);
  void (*scatter_rows)(ThreadPool&, float* dx, const float* dout, const int32_t* rows, int64_t R, int64_t H);
  // x [n] += y [n].
  void (*add)(ThreadPool&, float* x, const float* y, int64_t n);
  // y [n] = factor * x [n]; an f32 y may be x.
  void (*scale)(ThreadPool&, TensorRef y, const float* x, float factor, int64_t n);

  // ---- head.cc
  // The policy is softmax(logits / temperature). logits [R, V] (ld) are divided by the temperature in place;
  // logp [R] of targets, lse [R], entropy [R]. logp and entropy may be null, targets then too.
  void (*head_forward)(ThreadPool&, float* logits, int64_t ld, const int32_t* targets, float temperature, float* logp,
                       float* lse, float* entropy, int64_t R, int64_t V);
  // logits (as head_forward left them) become the gradient of the raw logits, from dlogp [R] and dentropy [R] (may be null).
  // Columns V .. padded V are set to zero.
  void (*head_backward)(ThreadPool&, float* logits, int64_t ld, const int32_t* targets, const float* lse, const float* entropy,
                        const float* dlogp, const float* dentropy, float temperature, int64_t R, int64_t V);
  // The k largest of each scaled row as ids [R, k], logprobs [R, k], best first, ties to the lower id.
  void (*head_top)(ThreadPool&, int32_t* ids, float* logprobs, const float* logits, int64_t ld, const float* lse, int64_t k,
                   int64_t R, int64_t V);

  // ---- sampling.cc
  // One token a row from raw logits [R, V] (changed in place) and rows [R]. logp is the policy's log-prob (whole vocabulary),
  // the very bits that head_forward gives; sampler_logp that of the distribution that was drawn from.
  void (*sample)(ThreadPool&, int32_t* tokens, float* logp, float* sampler_logp, float* logits, int64_t ld,
                 const SamplingRow* rows, int64_t R, int64_t V);

  // ---- policy_loss.cc
  // Adds to `sums`; sets dlogp [T] and dentropy [T] (may be null when entropy_coef is 0).
  void (*policy_loss)(PolicyLossSums& sums, float* dlogp, float* dentropy, const PolicyLossInputs& in, const PolicyLossArgs&,
                      int64_t T);

  // ---- dpo_loss.cc
  // Adds to `sums`; sets dlogp [T].
  void (*dpo_loss)(PairSums& sums, float* dlogp, const DpoLossInputs& in, const DpoLossArgs&);

  // ---- bradley_terry_loss.cc
  // Adds to `sums`; sets dscores [2 pairs].
  void (*bradley_terry_loss)(PairSums& sums, float* dscores, const BradleyTerryInputs& in, float center_coef);

  // ---- value_loss.cc
  // Adds to `sums`; sets dvalues [T].
  void (*value_loss)(ValueSums& sums, float* dvalues, const ValueLossInputs& in, float clip, int64_t T);

  // ---- advantage.cc
  // advantages [n] from rewards [n] in groups given by cu_groups [groups + 1]: r - mean, divided by (std + eps) when
  // `scale_by_std` (unbiased std, Shao et al. 2024 eq. 3). A group without spread, or of one sample, gets zeros.
  void (*advantage_normalize)(float* advantages, const float* rewards, const int32_t* cu_groups, int64_t groups,
                              bool scale_by_std, float eps);

  // ---- adamw.cc
  // One AdamW step (Loshchilov and Hutter 2019) on n elements; all arrays [n]. Leaves zeros in g, for the next step's sums.
  // Weights and moments in bf16 are rounded up or down at random, with the mean of what is rounded: to nearest, an average that
  // moves by less than half a unit in the last place a step would not move at all, nor would a weight. The random bits are a
  // function of (step, element).
  void (*adamw)(ThreadPool&, TensorRef w, float* g, TensorRef m, TensorRef v, int64_t n, const AdamwArgs&);
  // The same with moments in 8 bits (Dettmers et al. 2022), rounded to nearest; the first of a call's elements starts a block.
  // A block with a moment that is infinite or no number becomes NaN. Codes and largest magnitudes of zeros: 127 of m, and 0.
  void (*adamw_8bit)(ThreadPool&, TensorRef w, float* g, const BlockMoments&, int64_t n, const AdamwArgs&);

  // ---- nf4.cc
  // 4-bit NormalFloat (Dettmers et al. 2023, "QLoRA"): codes [ceil(n / 2)], the first of two numbers in the upper half of a
  // byte, and the largest magnitude [ceil(n / 64)] of every 64. A block with a number that is infinite or none becomes NaN.
  void (*nf4_quantize)(ThreadPool&, uint8_t* codes, float* largest, TensorView x, int64_t n);
  // out [n] = level of code * largest.
  void (*nf4_dequantize)(ThreadPool&, TensorRef out, const uint8_t* codes, const float* largest, int64_t n);

  // ---- grad_norm.cc
  // Sum of squares of x [n] in double: chunks of 4,096 elements, then the chunks in order. `scratch` holds ceil(n / 4096)
  // doubles.
  double (*sum_squares)(ThreadPool&, const float* x, int64_t n, double* scratch);
};

enum class Isa { portable, avx2, avx512, avx512_bf16 };
constexpr Isa kIsas[] = {Isa::portable, Isa::avx2, Isa::avx512, Isa::avx512_bf16};  // from slow to fast

bool has_isa(Isa isa);
// The fastest instruction set that this machine and this build have.
Isa best_isa();
// The CPU table of one instruction set; all of them give the same bits. Throws UNSUPPORTED when the machine or build lacks it.
const Kernels& cpu_kernels(Isa isa);
const char* isa_name(Isa isa);

}  // namespace zazen

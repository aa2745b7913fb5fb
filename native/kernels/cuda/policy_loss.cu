// The policy loss and its gradient (kernels/cpu/policy_loss.cc has the formulas). The gradient of a token is a function of that
// token, and with the ratio of sequences of two sums over its own sequence.
//
// A block takes a piece (pieces.cuh): 2,048 tokens, or a sequence where ratios are those of sequences. Thread j takes tokens j,
// j + 256, ... of it. Limit: memory bandwidth, each array read or written once; or the launch and the way back of the sums,
// where there are few tokens.
#include "kernels/cuda/ops.h"
#include "kernels/cuda/pieces.cuh"

namespace zazen::cuda {
namespace {

struct Divergence {
  float value, slope;  // slope = -d value / d logp
};

// k3 = e^d - d - 1. Near zero the difference would lose all its digits: there the series d^2/2! + ... + d^9/9! is used.
__device__ __forceinline__ float k3(float d) {
  float series = 1.0f / 362880;
  series = fmaf(series, d, 1.0f / 40320);
  series = fmaf(series, d, 1.0f / 5040);
  series = fmaf(series, d, 1.0f / 720);
  series = fmaf(series, d, 1.0f / 120);
  series = fmaf(series, d, 1.0f / 24);
  series = fmaf(series, d, 1.0f / 6);
  series = fmaf(series, d, 1.0f / 2);
  return fabsf(d) < 0.5f ? series * d * d : exponential(d) - d - 1.0f;
}

__device__ __forceinline__ Divergence estimate(float d, KlEstimator estimator) {
  if (estimator == KlEstimator::k1) return {0.0f - d, -1.0f};
  if (estimator == KlEstimator::k2) return {0.5f * d * d, d};
  const float value = k3(d);
  return {value, value + d};  // e^d - 1
}

// Derivatives at a bound are those of automatic differentiation: a clamp passes them inside its closed interval.
__device__ __forceinline__ Divergence divergence(float d, const PolicyLossArgs& args) {
  const float far = args.kl_max_log_ratio, most = args.kl_max;
  const bool cut = far > 0.0f;
  Divergence kl = estimate(cut ? smaller(larger(d, 0.0f - far), far) : d, args.kl);
  if (cut && far < fabsf(d)) kl.slope = 0.0f;
  if (most > 0.0f) {
    if (most < fabsf(kl.value)) kl.slope = 0.0f;
    kl.value = smaller(larger(kl.value, 0.0f - most), most);
  }
  return kl;
}

// What is maximised for a token. Flags say that a bound decides the value.
struct Surrogate {
  float value, slope;  // slope = d value / d log-ratio; of CISPO d value / d logp
  bool low, high, dual;
};

// min(ratio A, clip(ratio) A), then for A < 0 max(., dual_clip A). Derivatives are those of automatic differentiation: a tie of
// min shares the gradient, clip passes it inside its closed interval.
__device__ __forceinline__ Surrogate clip_surrogate(float ratio, float advantage, const PolicyLossArgs& args) {
  const float low = 1.0f - args.clip_low, high = 1.0f + args.clip_high;
  const float plain = ratio * advantage, bounded = smaller(larger(ratio, low), high) * advantage;
  const float share = plain < bounded ? 1.0f : bounded < plain ? 0.0f : 0.5f;
  const float inside = ratio < low || high < ratio ? 0.0f : 1.0f;
  const bool clipped = bounded < plain, below = clipped && ratio < low;
  Surrogate s{smaller(plain, bounded), advantage * (share + (1.0f - share) * inside), below, clipped && !below, false};
  if (args.dual_clip > 0.0f) {
    const float floor = advantage < 0.0f ? args.dual_clip * advantage : -INFINITY;
    s.dual = s.value < floor;
    s.slope = s.dual ? 0.0f : s.slope;
    s.value = larger(s.value, floor);
  }
  s.slope = s.slope * ratio;
  return s;
}

// clip(ratio) A logp, the clipped ratio a constant.
__device__ __forceinline__ Surrogate cispo_surrogate(float ratio, float advantage, float logp, const PolicyLossArgs& args) {
  const float low = 1.0f - args.clip_low, high = 1.0f + args.clip_high;
  const float slope = smaller(larger(ratio, low), high) * advantage;
  return {slope * logp, slope, ratio < low, high < ratio, false};
}

// One sequence's exp(mean(logp - old)) over its tokens with weight, and what each of these has of the gradient of the
// sequence's surrogate: d / d logp_t = (sum_u weight_u importance_u slope_u) / n.
struct SequenceTerms {
  float ratio, pull;
};

enum { kLoss, kKl, kRatio, kEntropy, kLow, kHigh, kDual, kTokens, kSums };

struct Task {
  PolicyLossInputs in;
  PolicyLossArgs args;
  const float* behaviour;
  float *dlogp, *dentropy;
  int64_t T;
};

__device__ SequenceTerms sequence_terms(SumsRoom<kSums>& room, const Task& task, int64_t begin, int64_t end) {
  const PolicyLossInputs& in = task.in;
  double log_ratio = 0.0, count = 0.0;
  for (int64_t t = begin + threadIdx.x; t < end; t += kThreads) {
    if (in.weights[t] == 0.0f) continue;
    log_ratio = log_ratio + (static_cast<double>(in.logp[t]) - static_cast<double>(task.behaviour[t]));
    count = count + 1.0;
  }
  const double total = block_sum(log_ratio, room.of[0]), n = block_sum(count, room.of[1]);
  const float ratio = n > 0.0 ? exponential(static_cast<float>(total / n)) : 1.0f;
  double slope = 0.0;
  if (task.args.objective == Objective::clip)
    for (int64_t t = begin + threadIdx.x; t < end; t += kThreads) {
      const float w = in.weights[t];
      if (w == 0.0f) continue;
      const float s = clip_surrogate(ratio, in.advantages[t], task.args).slope;
      slope = slope + static_cast<double>(in.importance ? w * (s * in.importance[t]) : w * s);
    }
  const double joint = block_sum(slope, room.of[2]);
  return {ratio, n > 0.0 ? static_cast<float>(joint / n) : 0.0f};
}

// Sets what one token with weight has of the gradient and adds what it has of the sums.
__device__ __forceinline__ void add_token(Sums<kSums>& sums, const Task& task, int64_t t, float w,
                                          const SequenceTerms* sequence) {
  const PolicyLossInputs& in = task.in;
  const PolicyLossArgs& args = task.args;
  const float now = in.logp[t], advantage = in.advantages[t], drift = now - in.old[t];
  const float ratio = sequence ? sequence->ratio : exponential(in.sampler ? now - task.behaviour[t] : drift);
  const bool clip = args.objective == Objective::clip, shared_slope = sequence && clip;
  Surrogate s = clip ? clip_surrogate(ratio, advantage, args) : cispo_surrogate(ratio, advantage, now, args);
  if (in.importance) {
    s.value = s.value * in.importance[t];
    s.slope = s.slope * in.importance[t];
  }
  const Divergence kl = in.ref ? divergence(in.ref[t] - now, args) : Divergence{0.0f, 0.0f};
  const float h = in.entropy ? in.entropy[t] : 0.0f;
  const float gradient = 0.0f - (shared_slope ? 0.0f : s.slope) - args.kl_coef * kl.slope;
  task.dlogp[t] = shared_slope ? w * gradient - sequence->pull : w * gradient;
  const double terms[kSums] = {static_cast<double>(w * (args.kl_coef * kl.value - s.value - args.entropy_coef * h)),
                               static_cast<double>(kl.value),
                               static_cast<double>(ratio),
                               static_cast<double>(h),
                               s.low ? 1.0 : 0.0,
                               s.high ? 1.0 : 0.0,
                               s.dual ? 1.0 : 0.0,
                               1.0};
#pragma unroll
  for (int i = 0; i < kSums; ++i) sums.of[i] = sums.of[i] + terms[i];
  sums.max = fmax(sums.max, static_cast<double>(fabsf(drift)));
}

__global__ void __launch_bounds__(kThreads) loss_kernel(Sums<kSums>* pieces, const Task task) {
  SumsRoom<kSums>& room = shared_memory<SumsRoom<kSums>>();
  const bool by_sequence = task.args.ratio == RatioLevel::sequence;
  const int64_t piece = blockIdx.x, first = by_sequence ? task.in.cu_tokens[piece] : piece * kPiece;
  const int64_t full = first + kPiece < task.T ? first + kPiece : task.T,
                last = by_sequence ? task.in.cu_tokens[piece + 1] : full;
  SequenceTerms terms{};
  if (by_sequence) terms = sequence_terms(room, task, first, last);
  Sums<kSums> sums{};
  for (int64_t t = first + threadIdx.x; t < last; t += kThreads) {
    const float w = task.in.weights[t];
    if (task.dentropy) task.dentropy[t] = 0.0f - w * task.args.entropy_coef;
    if (fabsf(w) > 0.0f)
      add_token(sums, task, t, w, by_sequence ? &terms : nullptr);
    else
      task.dlogp[t] = 0.0f;
  }
  __syncthreads();
  write_piece(pieces, sums, room);
}

}  // namespace

void policy_loss(PolicyLossSums& sums, float* dlogp, float* dentropy, const PolicyLossInputs& in, const PolicyLossArgs& args,
                 int64_t T) {
  const int64_t count = args.ratio == RatioLevel::sequence ? in.sequences : ceil_div(T, kPiece);
  const Task task{in, args, in.sampler ? in.sampler : in.old, dlogp, dentropy, T};
  const auto pieces = pieces_of<kSums>(count, [&](Sums<kSums>* to) {
    launch({"policy_loss", {{"T", T}, {"sequences", in.sequences}}}, loss_kernel,
           {.x = count, .threads = kThreads, .shared_bytes = sizeof(SumsRoom<kSums>)}, to, task);
  });
  for (const Sums<kSums>& piece : pieces) {
    sums.loss += piece.of[kLoss];
    sums.kl += piece.of[kKl];
    sums.ratio += piece.of[kRatio];
    sums.entropy += piece.of[kEntropy];
    sums.clipped_low += piece.of[kLow];
    sums.clipped_high += piece.of[kHigh];
    sums.clipped += piece.of[kLow] + piece.of[kHigh] + piece.of[kDual];
    sums.tokens += static_cast<int64_t>(piece.of[kTokens]);
    sums.max_abs_drift = sums.max_abs_drift > piece.max ? sums.max_abs_drift : piece.max;
  }
}

}  // namespace zazen::cuda

// The policy loss and its gradient (kernels/cpu/policy_loss.cc has the formulas). The gradient of a token is a function of that
// token, and with the ratio of sequences of two sums over its own sequence.
//
// A block takes a piece: 2,048 tokens, or a sequence where ratios are those of sequences. Thread j takes tokens j, j + 256, ...
// of it and sums in double; block_sum joins threads, and the host adds the pieces in order: one order for a call. Limit: memory
// bandwidth, each array read or written once; or the launch and the way back of the sums, where there are few tokens.
#include <vector>

#include "kernels/cuda/lanes.cuh"
#include "kernels/cuda/math.cuh"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/workspace.h"

namespace zazen::cuda {
namespace {

constexpr int64_t kPiece = kThreads * kEight;

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

__device__ __forceinline__ Divergence divergence(float d, KlEstimator estimator) {
  if (estimator == KlEstimator::k1) return {0.0f - d, -1.0f};
  if (estimator == KlEstimator::k2) return {0.5f * d * d, d};
  const float value = k3(d);
  return {value, value + d};  // e^d - 1
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

// What a piece adds to PolicyLossSums.
struct Sums {
  double loss, kl, ratio, entropy, low, high, dual, tokens;
  float max_drift;
};

struct Room {
  double of[kWarps];
};
struct Shared {
  Room rooms[9];  // one a sum, so that a barrier parts each from the others
};

struct Task {
  PolicyLossInputs in;
  PolicyLossArgs args;
  const float* behaviour;
  float *dlogp, *dentropy;
  int64_t T;
};

__device__ SequenceTerms sequence_terms(Shared& shared, const Task& task, int64_t begin, int64_t end) {
  const PolicyLossInputs& in = task.in;
  double log_ratio = 0.0, count = 0.0;
  for (int64_t t = begin + threadIdx.x; t < end; t += kThreads) {
    if (in.weights[t] == 0.0f) continue;
    log_ratio = log_ratio + (static_cast<double>(in.logp[t]) - static_cast<double>(task.behaviour[t]));
    count = count + 1.0;
  }
  const double total = block_sum(log_ratio, shared.rooms[0].of), n = block_sum(count, shared.rooms[1].of);
  const float ratio = n > 0.0 ? exponential(static_cast<float>(total / n)) : 1.0f;
  double slope = 0.0;
  if (task.args.objective == Objective::clip)
    for (int64_t t = begin + threadIdx.x; t < end; t += kThreads) {
      const float w = in.weights[t];
      if (w == 0.0f) continue;
      const float s = clip_surrogate(ratio, in.advantages[t], task.args).slope;
      slope = slope + static_cast<double>(in.importance ? w * (s * in.importance[t]) : w * s);
    }
  const double joint = block_sum(slope, shared.rooms[2].of);
  return {ratio, n > 0.0 ? static_cast<float>(joint / n) : 0.0f};
}

// Sets what one token with weight has of the gradient and adds what it has of the sums.
__device__ __forceinline__ void add_token(Sums& sums, const Task& task, int64_t t, float w, const SequenceTerms* sequence) {
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
  const Divergence kl = in.ref ? divergence(in.ref[t] - now, args.kl) : Divergence{0.0f, 0.0f};
  const float h = in.entropy ? in.entropy[t] : 0.0f;
  const float gradient = 0.0f - (shared_slope ? 0.0f : s.slope) - args.kl_coef * kl.slope;
  task.dlogp[t] = shared_slope ? w * gradient - sequence->pull : w * gradient;
  sums.loss = sums.loss + static_cast<double>(w * (args.kl_coef * kl.value - s.value - args.entropy_coef * h));
  sums.kl = sums.kl + static_cast<double>(kl.value);
  sums.ratio = sums.ratio + static_cast<double>(ratio);
  sums.entropy = sums.entropy + static_cast<double>(h);
  sums.low = sums.low + (s.low ? 1.0 : 0.0);
  sums.high = sums.high + (s.high ? 1.0 : 0.0);
  sums.dual = sums.dual + (s.dual ? 1.0 : 0.0);
  sums.tokens = sums.tokens + 1.0;
  sums.max_drift = larger(sums.max_drift, fabsf(drift));
}

__global__ void __launch_bounds__(kThreads) loss_kernel(Sums* pieces, const Task task) {
  Shared& shared = shared_memory<Shared>();
  const bool by_sequence = task.args.ratio == RatioLevel::sequence;
  const int64_t piece = blockIdx.x, first = by_sequence ? task.in.cu_tokens[piece] : piece * kPiece;
  const int64_t full = first + kPiece < task.T ? first + kPiece : task.T,
                last = by_sequence ? task.in.cu_tokens[piece + 1] : full;
  SequenceTerms terms{};
  if (by_sequence) terms = sequence_terms(shared, task, first, last);
  Sums sums{};
  for (int64_t t = first + threadIdx.x; t < last; t += kThreads) {
    const float w = task.in.weights[t];
    if (task.dentropy) task.dentropy[t] = 0.0f - w * task.args.entropy_coef;
    if (fabsf(w) > 0.0f)
      add_token(sums, task, t, w, by_sequence ? &terms : nullptr);
    else
      task.dlogp[t] = 0.0f;
  }
  __syncthreads();
  double* all[] = {&sums.loss, &sums.kl, &sums.ratio, &sums.entropy, &sums.low, &sums.high, &sums.dual, &sums.tokens};
#pragma unroll
  for (int i = 0; i < 8; ++i) *all[i] = block_sum(*all[i], shared.rooms[i].of);
  double drift = static_cast<double>(lanes_max(sums.max_drift));
  if (threadIdx.x % kWarp == 0) shared.rooms[8].of[threadIdx.x / kWarp] = drift;
  __syncthreads();
  for (int warp = 0; warp < kWarps; ++warp) drift = fmax(drift, shared.rooms[8].of[warp]);
  sums.max_drift = static_cast<float>(drift);
  if (threadIdx.x == 0) pieces[piece] = sums;
}

void add_piece(PolicyLossSums& sums, const Sums& piece) {
  sums.loss += piece.loss;
  sums.kl += piece.kl;
  sums.ratio += piece.ratio;
  sums.entropy += piece.entropy;
  sums.clipped_low += piece.low;
  sums.clipped_high += piece.high;
  sums.clipped += piece.low + piece.high + piece.dual;
  sums.tokens += static_cast<int64_t>(piece.tokens);
  const double drift = static_cast<double>(piece.max_drift);
  sums.max_abs_drift = sums.max_abs_drift > drift ? sums.max_abs_drift : drift;
}

}  // namespace

void policy_loss(PolicyLossSums& sums, float* dlogp, float* dentropy, const PolicyLossInputs& in, const PolicyLossArgs& args,
                 int64_t T) {
  const int64_t count = args.ratio == RatioLevel::sequence ? in.sequences : ceil_div(T, kPiece);
  Sums* pieces = workspace<Sums>(count);
  launch({"policy_loss", {{"T", T}, {"sequences", in.sequences}}}, loss_kernel,
         {.x = count, .threads = kThreads, .shared_bytes = sizeof(Shared)}, pieces,
         Task{in, args, in.sampler ? in.sampler : in.old, dlogp, dentropy, T});
  std::vector<Sums> host(static_cast<size_t>(count));
  download(host.data(), pieces, host.size() * sizeof(Sums));
  for (const Sums& piece : host) add_piece(sums, piece);
}

}  // namespace zazen::cuda

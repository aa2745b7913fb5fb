// The DPO loss of pairs of completions and its gradient (kernels/cpu/dpo_loss.cc has the formulas), in double. A block takes a
// pair. Limit: memory bandwidth; or the launch and the way back of the sums, where there are few tokens.
#include "kernels/cuda/ops.h"
#include "kernels/cuda/pieces.cuh"

namespace zazen::cuda {
namespace {

enum { kLoss, kChosen, kRejected, kChosenLogp, kRejectedLogp, kAccurate, kPairs, kSums };

struct Shared {
  double rooms[4][kWarps];
};

// Log-probs of a completion: sums over its tokens with weight.
struct Completion {
  double logp, ref;
};
__device__ Completion completion(double (&logps)[kWarps], double (&refs)[kWarps], const DpoLossInputs& in, int64_t sequence) {
  Completion c{0.0, 0.0};
  for (int64_t t = in.cu_tokens[sequence] + threadIdx.x; t < in.cu_tokens[sequence + 1]; t += kThreads) {
    if (in.weights[t] == 0.0f) continue;
    c.logp = c.logp + static_cast<double>(in.logp[t]);
    c.ref = c.ref + static_cast<double>(in.ref[t]);
  }
  return {block_sum(c.logp, logps), block_sum(c.ref, refs)};
}

__device__ void spread(float* dlogp, const DpoLossInputs& in, int64_t sequence, float slope) {
  for (int64_t t = in.cu_tokens[sequence] + threadIdx.x; t < in.cu_tokens[sequence + 1]; t += kThreads)
    dlogp[t] = in.weights[t] == 0.0f ? 0.0f : slope;
}

// Every thread has the sums of the pair, and the first one writes them. They are zero where the pair has no weight.
__global__ void __launch_bounds__(kThreads)
    loss_kernel(Sums<kSums>* pieces, float* dlogp, const DpoLossInputs in, const DpoLossArgs args) {
  Shared& shared = shared_memory<Shared>();
  const int64_t p = blockIdx.x;
  const double weight = static_cast<double>(in.pair_weights[p]), beta = static_cast<double>(args.beta);
  const double flipped = static_cast<double>(args.label_smoothing);
  Sums<kSums> sums{};
  double slope = 0.0;
  if (weight != 0.0) {
    const Completion chosen = completion(shared.rooms[0], shared.rooms[1], in, 2 * p);
    const Completion rejected = completion(shared.rooms[2], shared.rooms[3], in, 2 * p + 1);
    const double chosen_reward = beta * (chosen.logp - chosen.ref), rejected_reward = beta * (rejected.logp - rejected.ref);
    const double margin = chosen_reward - rejected_reward;
    slope = weight * beta * (flipped * sigmoid(margin) - (1.0 - flipped) * sigmoid(-margin));
    sums.of[kLoss] = weight * ((1.0 - flipped) * softplus(-margin) + flipped * softplus(margin));
    sums.of[kChosen] = chosen_reward;
    sums.of[kRejected] = rejected_reward;
    sums.of[kChosenLogp] = chosen.logp;
    sums.of[kRejectedLogp] = rejected.logp;
    sums.of[kAccurate] = chosen_reward > rejected_reward ? 1.0 : 0.0;
    sums.of[kPairs] = 1.0;
  }
  spread(dlogp, in, 2 * p, static_cast<float>(slope));
  spread(dlogp, in, 2 * p + 1, static_cast<float>(-slope));
  if (threadIdx.x == 0) pieces[p] = sums;
}

}  // namespace

void dpo_loss(PairSums& sums, float* dlogp, const DpoLossInputs& in, const DpoLossArgs& args) {
  const auto pieces = pieces_of<kSums>(in.pairs, [&](Sums<kSums>* to) {
    launch({"dpo_loss", {{"pairs", in.pairs}}}, loss_kernel,
           {.x = in.pairs, .threads = kThreads, .shared_bytes = sizeof(Shared)}, to, dlogp, in, args);
  });
  for (const Sums<kSums>& piece : pieces) {
    sums.loss += piece.of[kLoss];
    sums.chosen += piece.of[kChosen];
    sums.rejected += piece.of[kRejected];
    sums.chosen_logp += piece.of[kChosenLogp];
    sums.rejected_logp += piece.of[kRejectedLogp];
    sums.accurate += static_cast<int64_t>(piece.of[kAccurate]);
    sums.pairs += static_cast<int64_t>(piece.of[kPairs]);
  }
}

}  // namespace zazen::cuda

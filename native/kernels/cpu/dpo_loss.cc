// The DPO loss of pairs of completions and its gradient, a pure function of [T] arrays. All in double; what a token gets is
// rounded once. Normalisers are in the pairs' weights, so a call over some pairs gives their part of the gradient.
#include "kernels/cpu/logistic.h"
#include "kernels/cpu/ops.h"

namespace zazen::ZAZEN_ISA {
namespace {

// Log-probs of a completion: sums over its tokens with weight.
struct Completion {
  double logp = 0, ref = 0;
};

Completion completion(const DpoLossInputs& in, int64_t sequence) {
  Completion c;
  for (int64_t t = in.cu_tokens[sequence]; t < in.cu_tokens[sequence + 1]; ++t) {
    if (in.weights[t] == 0.0f) continue;
    c.logp += static_cast<double>(in.logp[t]);
    c.ref += static_cast<double>(in.ref[t]);
  }
  return c;
}

void spread(float* dlogp, const DpoLossInputs& in, int64_t sequence, float slope) {
  for (int64_t t = in.cu_tokens[sequence]; t < in.cu_tokens[sequence + 1]; ++t) dlogp[t] = in.weights[t] == 0.0f ? 0.0f : slope;
}

}  // namespace

void dpo_loss(PairSums& sums, float* dlogp, const DpoLossInputs& in, const DpoLossArgs& args) {
  const double beta = static_cast<double>(args.beta), flipped = static_cast<double>(args.label_smoothing);
  for (int64_t p = 0; p < in.pairs; ++p) {
    const double weight = static_cast<double>(in.pair_weights[p]);
    double slope = 0;
    if (weight != 0) {
      const Completion chosen = completion(in, 2 * p), rejected = completion(in, 2 * p + 1);
      const double chosen_reward = beta * (chosen.logp - chosen.ref), rejected_reward = beta * (rejected.logp - rejected.ref);
      const double margin = chosen_reward - rejected_reward;
      slope = weight * beta * (flipped * sigmoid(margin) - (1 - flipped) * sigmoid(-margin));
      sums.loss += weight * ((1 - flipped) * softplus(-margin) + flipped * softplus(margin));
      sums.chosen += chosen_reward;
      sums.rejected += rejected_reward;
      sums.chosen_logp += chosen.logp;
      sums.rejected_logp += rejected.logp;
      sums.accurate += chosen_reward > rejected_reward;
      ++sums.pairs;
    }
    spread(dlogp, in, 2 * p, static_cast<float>(slope));
    spread(dlogp, in, 2 * p + 1, static_cast<float>(-slope));
  }
}

}  // namespace zazen::ZAZEN_ISA

// The Bradley-Terry loss of pairs of scores and its gradient, a pure function. All in double; gradients are rounded once.
// Normalisers are in the pairs' weights, so a call over some pairs gives their part of the gradient.
#include "kernels/cpu/logistic.h"
#include "kernels/cpu/ops.h"

namespace zazen::ZAZEN_ISA {

void bradley_terry_loss(PairSums& sums, float* dscores, const BradleyTerryInputs& in, float center_coef) {
  const double center = static_cast<double>(center_coef);
  for (int64_t p = 0; p < in.pairs; ++p) {
    const double weight = static_cast<double>(in.pair_weights[p]);
    dscores[2 * p] = dscores[2 * p + 1] = 0.0f;
    if (weight == 0) continue;
    const double chosen = static_cast<double>(in.scores[2 * p]), rejected = static_cast<double>(in.scores[2 * p + 1]);
    const double lead = chosen - rejected - (in.margins ? static_cast<double>(in.margins[p]) : 0.0), both = chosen + rejected;
    const double pull = sigmoid(-lead), drift = 2 * center * both;
    dscores[2 * p] = static_cast<float>(weight * (drift - pull));
    dscores[2 * p + 1] = static_cast<float>(weight * (drift + pull));
    sums.loss += weight * (softplus(-lead) + center * both * both);
    sums.chosen += chosen;
    sums.rejected += rejected;
    sums.accurate += chosen > rejected;
    ++sums.pairs;
  }
}

}  // namespace zazen::ZAZEN_ISA

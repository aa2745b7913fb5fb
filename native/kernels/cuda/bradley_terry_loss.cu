// The Bradley-Terry loss of pairs of scores and its gradient (kernels/cpu/bradley_terry_loss.cc has the formulas), in double. A
// block takes 2,048 pairs, thread j of it pairs j, j + 256, ... Limit: the launch and the way back of the sums.
#include "kernels/cuda/ops.h"
#include "kernels/cuda/pieces.cuh"

namespace zazen::cuda {
namespace {

enum { kLoss, kChosen, kRejected, kAccurate, kPairs, kSums };

__global__ void __launch_bounds__(kThreads)
    loss_kernel(Sums<kSums>* pieces, float* dscores, const BradleyTerryInputs in, double center) {
  const int64_t first = blockIdx.x * kPiece, last = first + kPiece < in.pairs ? first + kPiece : in.pairs;
  Sums<kSums> sums{};
  for (int64_t p = first + threadIdx.x; p < last; p += kThreads) {
    const double weight = static_cast<double>(in.pair_weights[p]);
    float slope_chosen = 0.0f, slope_rejected = 0.0f;
    if (weight != 0.0) {
      const double chosen = static_cast<double>(in.scores[2 * p]), rejected = static_cast<double>(in.scores[2 * p + 1]);
      const double lead = chosen - rejected - (in.margins ? static_cast<double>(in.margins[p]) : 0.0);
      const double both = chosen + rejected, pull = sigmoid(-lead), drift = 2.0 * center * both;
      slope_chosen = static_cast<float>(weight * (drift - pull));
      slope_rejected = static_cast<float>(weight * (drift + pull));
      sums.of[kLoss] = sums.of[kLoss] + weight * (softplus(-lead) + center * both * both);
      sums.of[kChosen] = sums.of[kChosen] + chosen;
      sums.of[kRejected] = sums.of[kRejected] + rejected;
      sums.of[kAccurate] = sums.of[kAccurate] + (chosen > rejected ? 1.0 : 0.0);
      sums.of[kPairs] = sums.of[kPairs] + 1.0;
    }
    dscores[2 * p] = slope_chosen;
    dscores[2 * p + 1] = slope_rejected;
  }
  write_piece(pieces, sums, shared_memory<SumsRoom<kSums>>());
}

}  // namespace

void bradley_terry_loss(PairSums& sums, float* dscores, const BradleyTerryInputs& in, float center_coef) {
  const int64_t count = ceil_div(in.pairs, kPiece);
  const auto pieces = pieces_of<kSums>(count, [&](Sums<kSums>* to) {
    launch({"bradley_terry_loss", {{"pairs", in.pairs}}}, loss_kernel,
           {.x = count, .threads = kThreads, .shared_bytes = sizeof(SumsRoom<kSums>)}, to, dscores, in,
           static_cast<double>(center_coef));
  });
  for (const Sums<kSums>& piece : pieces) {
    sums.loss += piece.of[kLoss];
    sums.chosen += piece.of[kChosen];
    sums.rejected += piece.of[kRejected];
    sums.accurate += static_cast<int64_t>(piece.of[kAccurate]);
    sums.pairs += static_cast<int64_t>(piece.of[kPairs]);
  }
}

}  // namespace zazen::cuda

// The clipped value loss of a critic and its gradient (kernels/cpu/value_loss.cc has the formulas), in double. A block takes
// 2,048 tokens, thread j of it tokens j, j + 256, ... Limit: memory bandwidth; or the launch and the way back of the sums.
#include "kernels/cuda/ops.h"
#include "kernels/cuda/pieces.cuh"

namespace zazen::cuda {
namespace {

enum { kLoss, kValues, kReturns, kSquaredReturns, kErrors, kSquaredErrors, kClipped, kTokens, kSums };

// Adds what one token with weight has of the sums; its gradient.
__device__ __forceinline__ float add_token(Sums<kSums>& sums, const ValueLossInputs& in, double bound, int64_t t,
                                           double weight) {
  const double value = static_cast<double>(in.values[t]), wanted = static_cast<double>(in.returns[t]);
  const double old = in.old ? static_cast<double>(in.old[t]) : value, drift = value - old;
  const bool outside = bound > 0.0 && (drift < -bound || drift > bound);
  const double bounded = outside ? old + (drift < 0.0 ? -bound : bound) : value;
  const double plain = (value - wanted) * (value - wanted), clipped = (bounded - wanted) * (bounded - wanted);
  const double share = !outside || plain > clipped ? 1.0 : plain < clipped ? 0.0 : 0.5;
  const double terms[kSums] = {weight * 0.5 * (plain > clipped ? plain : clipped),
                               value,
                               wanted,
                               wanted * wanted,
                               wanted - value,
                               plain,
                               clipped > plain ? 1.0 : 0.0,
                               1.0};
#pragma unroll
  for (int i = 0; i < kSums; ++i) sums.of[i] = sums.of[i] + terms[i];
  sums.max = fmax(sums.max, fabs(drift));
  return static_cast<float>(weight * share * (value - wanted));
}

__global__ void __launch_bounds__(kThreads)
    loss_kernel(Sums<kSums>* pieces, float* dvalues, const ValueLossInputs in, double bound, int64_t T) {
  const int64_t first = blockIdx.x * kPiece, last = first + kPiece < T ? first + kPiece : T;
  Sums<kSums> sums{};
  for (int64_t t = first + threadIdx.x; t < last; t += kThreads) {
    const double weight = static_cast<double>(in.weights[t]);
    dvalues[t] = weight != 0.0 ? add_token(sums, in, bound, t, weight) : 0.0f;
  }
  write_piece(pieces, sums, shared_memory<SumsRoom<kSums>>());
}

}  // namespace

void value_loss(ValueSums& sums, float* dvalues, const ValueLossInputs& in, float clip, int64_t T) {
  const int64_t count = ceil_div(T, kPiece);
  const auto pieces = pieces_of<kSums>(count, [&](Sums<kSums>* to) {
    launch({"value_loss", {{"T", T}}}, loss_kernel, {.x = count, .threads = kThreads, .shared_bytes = sizeof(SumsRoom<kSums>)},
           to, dvalues, in, static_cast<double>(clip), T);
  });
  for (const Sums<kSums>& piece : pieces) {
    sums.loss += piece.of[kLoss];
    sums.values += piece.of[kValues];
    sums.returns += piece.of[kReturns];
    sums.squared_returns += piece.of[kSquaredReturns];
    sums.errors += piece.of[kErrors];
    sums.squared_errors += piece.of[kSquaredErrors];
    sums.clipped += static_cast<int64_t>(piece.of[kClipped]);
    sums.tokens += static_cast<int64_t>(piece.of[kTokens]);
    sums.max_abs_drift = sums.max_abs_drift > piece.max ? sums.max_abs_drift : piece.max;
  }
}

}  // namespace zazen::cuda

// Group-relative advantages (Shao et al. 2024, "DeepSeekMath", eq. 3): rewards of samples that share a prompt become their own
// baseline. All in double; each result is rounded once.
#include "kernels/cpu/ops.h"
#include "kernels/cpu/simd.h"

namespace zazen::ZAZEN_ISA {
namespace {

double group_mean(const float* rewards, int64_t n) {
  double total = 0;
  for (int64_t i = 0; i < n; ++i) total += static_cast<double>(rewards[i]);
  return total / static_cast<double>(n);
}

// Sum of (r - mean)^2. Zero exactly when all rewards are equal: n equal floats have an exact sum and mean in double.
double group_squares(const float* rewards, int64_t n, double mean) {
  double squares = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double centred = static_cast<double>(rewards[i]) - mean;
    squares += centred * centred;
  }
  return squares;
}

void normalize_group(float* advantages, const float* rewards, int64_t n, bool scale_by_std, double eps) {
  const double mean = group_mean(rewards, n);
  double factor = 1.0;
  if (scale_by_std) {
    const double squares = group_squares(rewards, n, mean);
    factor = squares > 0 ? 1.0 / (__builtin_sqrt(squares / static_cast<double>(n - 1)) + eps) : 0.0;
  }
  for (int64_t i = 0; i < n; ++i) advantages[i] = static_cast<float>((static_cast<double>(rewards[i]) - mean) * factor);
}

}  // namespace

void advantage_normalize(float* advantages, const float* rewards, const int32_t* cu_groups, int64_t groups, bool scale_by_std,
                         float eps) {
  for (int64_t g = 0; g < groups; ++g)
    normalize_group(advantages + cu_groups[g], rewards + cu_groups[g], cu_groups[g + 1] - cu_groups[g], scale_by_std,
                    static_cast<double>(eps));
}

}  // namespace zazen::ZAZEN_ISA

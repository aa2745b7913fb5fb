// Group-relative advantages (Shao et al. 2024, "DeepSeekMath", eq. 3): rewards of samples that share a prompt become their own
// baseline. All in double; each result is rounded once.
#include "kernels/cpu/ops.h"
#include "kernels/cpu/simd.h"

namespace zazen::ZAZEN_ISA {
namespace {

struct GroupStats {
  double mean;
  bool spread;  // some two rewards differ
};

GroupStats group_stats(const float* rewards, int64_t n) {
  double total = 0;
  bool spread = false;
  for (int64_t i = 0; i < n; ++i) {
    total += static_cast<double>(rewards[i]);
    spread |= rewards[i] != rewards[0];
  }
  return {total / static_cast<double>(n), spread};
}

// Unbiased: divided by n - 1.
double group_std(const float* rewards, int64_t n, double mean) {
  double squares = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double centred = static_cast<double>(rewards[i]) - mean;
    squares += centred * centred;
  }
  return __builtin_sqrt(squares / static_cast<double>(n - 1));
}

void normalize_group(float* advantages, const float* rewards, int64_t n, bool scale_by_std, double eps) {
  const GroupStats stats = group_stats(rewards, n);
  double factor = stats.spread ? 1.0 : 0.0;
  if (stats.spread && scale_by_std) factor = 1.0 / (group_std(rewards, n, stats.mean) + eps);
  for (int64_t i = 0; i < n; ++i) advantages[i] = static_cast<float>((static_cast<double>(rewards[i]) - stats.mean) * factor);
}

}  // namespace

void advantage_normalize(float* advantages, const float* rewards, const int32_t* cu_groups, int64_t groups, bool scale_by_std,
                         float eps) {
  for (int64_t g = 0; g < groups; ++g)
    normalize_group(advantages + cu_groups[g], rewards + cu_groups[g], cu_groups[g + 1] - cu_groups[g], scale_by_std,
                    static_cast<double>(eps));
}

}  // namespace zazen::ZAZEN_ISA

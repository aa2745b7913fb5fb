// Group-relative advantages (kernels/cpu/advantage.cc has the formulas), in double. Eight lanes take a group: lane j sums
// elements j, j + 8, ... in order, then the lanes are joined, an order that depends on the group's own size alone. The second
// and third pass find the group in L1. Limit: memory bandwidth, or the launch where there are few groups.
#include "kernels/cuda/lanes.cuh"
#include "kernels/cuda/math.cuh"
#include "kernels/cuda/ops.h"

namespace zazen::cuda {
namespace {

constexpr int kGroupLanes = 8, kGroupsPerBlock = kThreads / kGroupLanes;

// Lanes of groups that are not there take part in sums, of nothing.
__global__ void __launch_bounds__(kThreads) normalize_kernel(float* advantages, const float* rewards, const int32_t* cu_groups,
                                                             int64_t groups, bool scale_by_std, double eps) {
  const int64_t group = static_cast<int64_t>(blockIdx.x) * kGroupsPerBlock + threadIdx.x / kGroupLanes;
  const bool there = group < groups;
  const int32_t first = there ? cu_groups[group] : 0, last = there ? cu_groups[group + 1] : 0;
  const int32_t begin = first + static_cast<int32_t>(threadIdx.x) % kGroupLanes;
  const double n = static_cast<double>(last - first);
  double total = 0.0;
  for (int32_t i = begin; i < last; i += kGroupLanes) total = total + static_cast<double>(rewards[i]);
  const double mean = lanes_sum<kGroupLanes>(total) / n;
  double squares = 0.0;
  for (int32_t i = begin; i < last; i += kGroupLanes) {
    const double centred = static_cast<double>(rewards[i]) - mean;
    squares = squares + centred * centred;
  }
  squares = lanes_sum<kGroupLanes>(squares);
  const double scaled = squares > 0.0 ? 1.0 / (sqrt(squares / (n - 1.0)) + eps) : 0.0, factor = scale_by_std ? scaled : 1.0;
  for (int32_t i = begin; i < last; i += kGroupLanes)
    advantages[i] = static_cast<float>((static_cast<double>(rewards[i]) - mean) * factor);
}

}  // namespace

void advantage_normalize(float* advantages, const float* rewards, const int32_t* cu_groups, int64_t groups, bool scale_by_std,
                         float eps) {
  launch({"advantage_normalize", {{"groups", groups}}}, normalize_kernel,
         {.x = ceil_div(groups, kGroupsPerBlock), .threads = kThreads}, advantages, rewards, cu_groups, groups, scale_by_std,
         static_cast<double>(eps));
}

}  // namespace zazen::cuda

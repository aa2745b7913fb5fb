// The three named kernels, at a vocabulary of 152,064 and at 1e8 elements.
#pragma once

#include "case.cuh"
#include "kernels/cuda/named.h"

namespace zazen::bench {

template <class E>
void logprob_gather_case(const char* dtype, int64_t R, int64_t V) {
  const DeviceBuffer<E> logits = noise<E>(R * V, 1, -8.0f, 8.0f);
  const DeviceBuffer<float> logp(R), lse(R), entropy(R);
  std::vector<int32_t> targets(static_cast<size_t>(R));
  for (int64_t r = 0; r < R; ++r) targets[r] = static_cast<int32_t>(r * 7919 % V);
  const DeviceBuffer<int32_t> ids(targets);
  Case c{"logprob gather", text(R, " x ", V), dtype};
  c.bytes = static_cast<double>(R * V) * sizeof(E);
  c.seconds = seconds_of(
      [&] { cuda::logprob_gather(logits.data(), V, ids.data(), 1.0f, logp.data(), lse.data(), entropy.data(), R, V); });
  std::vector<float> row, want(3);
  for (const E logit : first_of(logits.data() + (R - 1) * V, V)) row.push_back(static_cast<float>(value_of(logit)));
  cpu().head_forward(pool(), row.data(), V, &targets[R - 1], 1.0f, &want[0], &want[1], &want[2], 1, V);
  const std::vector<float> got = {logp.values()[R - 1], lse.values()[R - 1], entropy.values()[R - 1]};
  c.error = error_of(got, want);
  report(c);
}

inline void policy_loss_case(int64_t T) {
  constexpr int64_t kChecked = 4096;
  constexpr float kWeight = 1e-3f;
  std::vector<DeviceBuffer<float>> in;
  for (uint32_t i = 0; i < 5; ++i) in.push_back(noise<float>(T, 10 + i, -1.0f, 1.0f));
  in.push_back(noise<float>(T, 20, kWeight, kWeight));
  const DeviceBuffer<float> dlogp(T), dentropy(T);
  const PolicyLossArgs args{0.2f, 0.2f, 0.0f, 0.1f, 0.01f};
  const auto inputs = [](const auto& at) {
    PolicyLossInputs of{at(0), at(1), at(2), at(5)};
    of.ref = at(3);
    of.entropy = at(4);
    return of;
  };
  Case c{"policy loss", text(T), "float32"};
  c.bytes = 8.0 * static_cast<double>(T) * sizeof(float);  // six read, two written
  c.seconds = seconds_of([&] {
    PolicyLossSums sums;
    cuda::policy_loss(sums, dlogp.data(), dentropy.data(), inputs([&](int i) { return in[i].data(); }), args, T);
  });
  std::vector<std::vector<float>> host;
  for (const auto& each : in) host.push_back(first_of(each.data(), kChecked));
  std::vector<float> want(kChecked), want_entropy(kChecked);
  PolicyLossSums sums;
  cpu().policy_loss(sums, want.data(), want_entropy.data(), inputs([&](int i) { return host[i].data(); }), args, kChecked);
  for (float& gradient : want) gradient /= kWeight;
  std::vector<float> got = first_of(dlogp.data(), kChecked);
  for (float& gradient : got) gradient /= kWeight;
  c.error = error_of(got, want);
  report(c);
}

__global__ void __launch_bounds__(cuda::kThreads) offsets_kernel(int32_t* out, int64_t n, int32_t size) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * cuda::kThreads + threadIdx.x;
  if (i < n) out[i] = static_cast<int32_t>(i) * size;
}

inline void advantage_case(int64_t groups, int32_t size) {
  const int64_t n = groups * size;
  const DeviceBuffer<float> rewards = noise<float>(n, 30), advantages(n);
  const DeviceBuffer<int32_t> offsets(groups + 1);
  cuda::launch({"offsets"}, offsets_kernel, {.x = ceil_div(groups + 1, cuda::kThreads), .threads = cuda::kThreads},
               offsets.data(), groups + 1, size);
  Case c{"group advantages", text(groups, " x ", size), "float32"};
  c.bytes = static_cast<double>(2 * n + groups) * sizeof(float);
  c.seconds =
      seconds_of([&] { cuda::advantage_normalize(advantages.data(), rewards.data(), offsets.data(), groups, true, 1e-6f); });
  const std::vector<int32_t> one_group = {0, size};
  const std::vector<float> last = first_of(rewards.data() + n - size, size);
  std::vector<float> want(last.size());
  cpu().advantage_normalize(want.data(), last.data(), one_group.data(), 1, true, 1e-6f);
  c.error = error_of(first_of(advantages.data() + n - size, size), want);
  report(c);
}

inline void named_cases() {
  logprob_gather_case<bf16>("bfloat16", 8192, 152064);
  logprob_gather_case<float>("float32", 8192, 152064);
  policy_loss_case(100'000'000);
  advantage_case(12'500'000, 8);
}

}  // namespace zazen::bench

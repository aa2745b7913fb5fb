// What is done to rows between the products, and the optimizer: 32,768 tokens of Qwen2.5-7B, more than any cache holds. The
// residual stream, gradients and master weights are f32, what passes between layers is bf16, as in training.
#pragma once

#include "case.cuh"

namespace zazen::bench {

constexpr int64_t kTokens = 32768, kHidden = 3584, kHeads = 28, kHeadDim = 128, kIntermediate = 18944;
constexpr int64_t kCheckedRows = 4;

inline void rmsnorm_cases() {
  constexpr float kEps = 1e-6f;
  const int64_t n = kTokens * kHidden, checked = kCheckedRows * kHidden;
  const DeviceBuffer<float> x = noise<float>(n, 1), rstd(kTokens), dy = noise<float>(n, 2), residual = noise<float>(n, 3),
                            dx(n);
  const DeviceBuffer<bf16> w = noise<bf16>(kHidden, 4), y(n);
  const std::vector<float> xs = first_of(x.data(), checked), dys = first_of(dy.data(), checked),
                           residuals = first_of(residual.data(), checked);
  const std::vector<bf16> ws = w.values();
  std::vector<bf16> want_y(checked);
  std::vector<float> want_rstd(kCheckedRows), want_dx(checked);
  cpu().rmsnorm_forward(pool(), want_y.data(), want_rstd.data(), xs.data(), ws.data(), kCheckedRows, kHidden, kEps);
  cpu().rmsnorm_backward_input(pool(), want_dx.data(), residuals.data(), dys.data(), xs.data(), ws.data(), want_rstd.data(),
                               kCheckedRows, kHidden);
  Case forward{"rmsnorm forward", text(kTokens, " x ", kHidden), "bfloat16"};
  forward.bytes = static_cast<double>(n) * (sizeof(float) + sizeof(bf16));
  forward.seconds =
      seconds_of([&] { cuda::rmsnorm_forward(pool(), y.data(), rstd.data(), x.data(), w.data(), kTokens, kHidden, kEps); });
  forward.error = error_of(first_of(y.data(), checked), want_y);
  forward.tolerance = kBf16Tolerance;
  report(forward);
  Case backward{"rmsnorm backward of the input", forward.shape, "float32"};
  backward.bytes = 4.0 * static_cast<double>(n) * sizeof(float);
  backward.seconds = seconds_of([&] {
    cuda::rmsnorm_backward_input(pool(), dx.data(), residual.data(), dy.data(), x.data(), w.data(), rstd.data(), kTokens,
                                 kHidden);
  });
  backward.error = error_of(first_of(dx.data(), checked), want_dx);
  report(backward);
}

inline void rope_case() {
  constexpr int64_t kPositions = 4096, kHalf = kHeadDim / 2;
  const int64_t row = kHeads * kHeadDim, checked = kCheckedRows * row;
  std::vector<float> cosines, sines;
  for (int64_t p = 0; p < kPositions; ++p)
    for (int64_t i = 0; i < kHalf; ++i) {
      const double angle = static_cast<double>(p) * std::pow(1e6, -static_cast<double>(i) / static_cast<double>(kHalf));
      cosines.push_back(static_cast<float>(std::cos(angle)));
      sines.push_back(static_cast<float>(std::sin(angle)));
    }
  std::vector<int32_t> places(kTokens);
  for (int64_t t = 0; t < kTokens; ++t) places[t] = static_cast<int32_t>((t + 1) % kPositions);
  const DeviceBuffer<float> cos(cosines), sin(sines);
  const DeviceBuffer<int32_t> positions(places);
  const DeviceBuffer<bf16> x = noise<bf16>(kTokens * row, 5);
  const auto turn = [&] {
    cuda::rope(pool(), x.data(), positions.data(), cos.data(), sin.data(), kTokens, kHeads, kHeadDim, 1.0f);
  };
  std::vector<bf16> want = first_of(x.data(), checked);
  cpu().rope(pool(), want.data(), places.data(), cosines.data(), sines.data(), kCheckedRows, kHeads, kHeadDim, 1.0f);
  turn();
  Case c{"rope", text(kTokens, " x ", kHeads, " x ", kHeadDim), "bfloat16"};
  c.error = error_of(first_of(x.data(), checked), want);
  c.tolerance = kBf16Tolerance;
  c.bytes = 2.0 * static_cast<double>(kTokens * row) * sizeof(bf16);
  c.seconds = seconds_of(turn);
  report(c);
}

inline void swiglu_cases() {
  const int64_t n = kTokens * kIntermediate, checked = kIntermediate;
  const DeviceBuffer<bf16> gate = noise<bf16>(n, 6, -4.0f, 4.0f), up = noise<bf16>(n, 7), y(n);
  std::vector<bf16> gates = first_of(gate.data(), checked), ups = first_of(up.data(), checked), want(checked);
  cpu().swiglu_forward(pool(), want.data(), gates.data(), ups.data(), 1, checked);
  Case forward{"swiglu forward", text(kTokens, " x ", kIntermediate), "bfloat16"};
  forward.bytes = 3.0 * static_cast<double>(n) * sizeof(bf16);
  forward.seconds = seconds_of([&] { cuda::swiglu_forward(pool(), y.data(), gate.data(), up.data(), kTokens, kIntermediate); });
  forward.error = error_of(first_of(y.data(), checked), want);
  forward.tolerance = kBf16Tolerance;
  report(forward);
  const DeviceBuffer<float> dy = noise<float>(n, 8);
  const std::vector<float> dys = first_of(dy.data(), checked);
  cpu().swiglu_backward(pool(), gates.data(), ups.data(), dys.data(), 1, checked);
  const auto back = [&] { cuda::swiglu_backward(pool(), gate.data(), up.data(), dy.data(), kTokens, kIntermediate); };
  back();
  Case backward{"swiglu backward", forward.shape, "bfloat16"};
  backward.error = std::fmax(error_of(first_of(gate.data(), checked), gates), error_of(first_of(up.data(), checked), ups));
  backward.tolerance = kBf16Tolerance;
  backward.bytes = static_cast<double>(n) * (sizeof(float) + 4 * sizeof(bf16));
  backward.seconds = seconds_of(back);
  report(backward);
}

template <class M>
void adamw_case(const char* dtype) {
  constexpr int64_t kChecked = 4096;
  const int64_t n = 100'000'000;
  const DeviceBuffer<float> w = noise<float>(n, 9), g = noise<float>(n, 10);
  const DeviceBuffer<M> m = noise<M>(n, 11), v = noise<M>(n, 12, 0.0f, 1.0f);
  const AdamwArgs args{1e-3, 0.9, 0.95, 1e-8, 0.1, 0.1, 0.05, 1.0, 1, 0};
  std::vector<float> ws = first_of(w.data(), kChecked), gs = first_of(g.data(), kChecked);
  std::vector<M> ms = first_of(m.data(), kChecked), vs = first_of(v.data(), kChecked);
  cpu().adamw(pool(), ws.data(), gs.data(), ms.data(), vs.data(), kChecked, args);
  const auto step = [&] { cuda::adamw(pool(), w.data(), g.data(), m.data(), v.data(), n, args); };
  step();
  Case c{"adamw", text(n), dtype};
  c.error = std::fmax(error_of(first_of(w.data(), kChecked), ws), error_of(first_of(m.data(), kChecked), ms));
  c.bytes = static_cast<double>(n) * (4 * sizeof(float) + 4 * sizeof(M));
  c.seconds = seconds_of(step);
  report(c);
}

inline void row_cases() {
  rmsnorm_cases();
  rope_case();
  swiglu_cases();
  adamw_case<float>("float32");
  adamw_case<bf16>("bfloat16");
}

}  // namespace zazen::bench

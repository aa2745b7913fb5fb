// Products of linear layers: wide ones as the engine computes them, exact, against the fastest algorithm of cuBLASLt in
// whatever order; skinny ones against the memory that their weights take, each time other weights than the caches hold.
#pragma once

#include "case.cuh"
#include "kernels/cuda/exact_library.h"
#include "kernels/cuda/trial.h"

namespace zazen::bench {

constexpr int64_t kWideRows[] = {2048, 8192}, kSkinnyRows[] = {1, 16, 64};
constexpr int64_t kBeyondCaches = int64_t{512} << 20;  // bytes
constexpr int64_t kCheckedOutputs = 16;

// The first outputs of the last row, in double, against what the device has.
inline double product_error(const DeviceBuffer<bf16>& y, const bf16* x, const bf16* w, int64_t M, int64_t N, int64_t K) {
  const std::vector<bf16> row = first_of(x + (M - 1) * K, K), weights = first_of(w, kCheckedOutputs * K);
  std::vector<float> want;
  for (int64_t n = 0; n < kCheckedOutputs; ++n) {
    double sum = 0;
    for (int64_t k = 0; k < K; ++k) sum += value_of(row[k]) * value_of(weights[n * K + k]);
    want.push_back(static_cast<float>(sum));
  }
  return error_of(first_of(y.data() + (M - 1) * N, kCheckedOutputs), want);
}

inline Case product_case(const char* name, const Layer& layer, int64_t M) {
  Case c{name, text(layer.name, ", M ", M), "bfloat16"};
  c.flops = 2.0 * static_cast<double>(M * layer.N * layer.K);
  c.bytes = static_cast<double>(layer.N * layer.K + M * (layer.N + layer.K)) * sizeof(bf16);
  c.tolerance = kBf16Tolerance;
  return c;
}

// Seconds of the fastest algorithm, in any order of sums; 0 when there is none.
inline double fastest_of_library(cuda::CublasLt& library, const cuda::Product& product) {
  double fastest = 0;
  for (const cuda::lt::Algorithm& algorithm : library.proposals(product, cuda::CublasLt::Depth::any)) {
    if (!library.multiply(product, algorithm)) continue;
    const double time = seconds_of([&] { library.multiply(product, algorithm); });
    fastest = fastest == 0 ? time : std::min(fastest, time);
  }
  return fastest;
}

inline void wide_case(cuda::CublasLt* library, const Layer& layer, int64_t M) {
  const auto [name, N, K] = layer;
  const DeviceBuffer<bf16> x = noise<bf16>(M * K, 1), w = noise<bf16>(N * K, 2), y(M * N), own_y(M * N);
  Case c = product_case("matmul, exact", layer, M);
  const auto forward = [&](const DeviceBuffer<bf16>& to) {
    cuda::linear_forward(pool(), to.data(), N, x.data(), K, w.data(), M, N, K, false);
  };
  if (library)  // a library of its own, so that decisions are those of this shape
    cuda::set_exact_library(std::make_unique<cuda::ExactLibrary>(std::make_unique<cuda::CublasLt>(), "bench"));
  c.seconds = seconds_of([&] { forward(y); });
  const bool by_library = library && cuda::exact_library()->counts().agrees > 0;
  cuda::set_exact_library(nullptr);
  const double own = seconds_of([&] { forward(own_y); });
  const int64_t different = cuda::count_differences(y.data(), own_y.data(), M, N, N);
  c.error = different ? INFINITY : product_error(y, x.data(), w.data(), M, N, K);
  const cuda::Product product{M, N, K, true, false, x.data(), K, w.data(), K, own_y.data(), N};
  c.more = text(", \"by_library\": ", by_library ? "true" : "false", ", \"own_seconds\": ", own, ", \"different\": ", different,
                ", \"best_library_seconds\": ", library ? fastest_of_library(*library, product) : 0.0);
  report(c);
}

inline void skinny_case(const Layer& layer, int64_t M) {
  const auto [name, N, K] = layer;
  const int64_t copies = ceil_div(kBeyondCaches, N * K * static_cast<int64_t>(sizeof(bf16)));
  const DeviceBuffer<bf16> x = noise<bf16>(M * K, 1), w = noise<bf16>(copies * N * K, 2), y(M * N);
  Case c = product_case("matmul, skinny", layer, M);
  int64_t turn = 0;
  const bf16* last = nullptr;
  c.seconds = seconds_of([&] {
    last = w.data() + turn++ % copies * N * K;
    cuda::linear_forward(pool(), y.data(), N, x.data(), K, last, M, N, K, false);
  });
  c.error = product_error(y, x.data(), last, M, N, K);
  report(c);
}

inline void product_cases() {
  std::unique_ptr<cuda::CublasLt> library;
  try {
    library = std::make_unique<cuda::CublasLt>();
    fact(text("{\"cublasLt\": ", library->version(), ", \"file\": \"", library->file(), "\"}"));
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
  }
  for (const Layer& layer : kLayers) {
    for (const int64_t M : kWideRows) wide_case(library.get(), layer, M);
    for (const int64_t M : kSkinnyRows) skinny_case(layer, M);
  }
}

}  // namespace zazen::bench

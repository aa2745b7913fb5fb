// Facts about a GPU that the CUDA kernels are designed around. Each is one JSON line; the last line is a document with all of
// them.
//   - Does a chain of wgmma have the bits of the same chain of mma.sync?
//   - Which algorithms of cuBLASLt have the bits of the canonical product, at the layers of Qwen2.5-7B and Llama-3.1-8B, and
//     how fast are they and the own kernel? Data: large terms that cancel far apart in K, so that another order shows.
//   - The bandwidth of the skinny product (M <= 64), of a copy; the latency of a launch, alone and in a replayed graph.
// Build and run, in the project's root, on a machine with nvcc and a GPU (Hopper for wgmma):
//   cmake -S native -B build/probe -DZAZEN_ADDON=OFF -DZAZEN_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES=90a-real
//   cmake --build build/probe --target gpu_probe && build/probe/gpu_probe | tail -1 > bench/results/gpu-probe.json
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda/cublaslt.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/trial.h"
#include "measure.cuh"
#include "wgmma.cuh"

namespace zazen::probe {
namespace {

using namespace bench;
using cuda::CublasLt;
using cuda::DeviceBuffer;

DeviceBuffer<bf16> cancelling(int64_t rows, int64_t K, uint32_t seed, bool negate) {
  DeviceBuffer<bf16> out(static_cast<size_t>(rows * K));
  cuda::fill_cancelling(out.data(), rows, K, K, true, seed, negate);
  return out;
}

int64_t different_bits(const std::vector<float>& a, const std::vector<float>& b) {
  int64_t count = 0;
  for (size_t i = 0; i < a.size(); ++i) count += std::memcmp(&a[i], &b[i], sizeof(float)) != 0;
  return count;
}

// Where outputs are further apart than rounding explains, an operand was laid out wrongly, and the bits say nothing.
constexpr double kLargestProduct = 0x1p28, kRounding = 0x1p-20;

void probe_wgmma() {
  for (const int K : {16, 64, 1024, 3584}) {
    const DeviceBuffer<bf16> a = cancelling(kTileRows, K, 1, true), b = cancelling(kTileColumns, K, 2, false);
    DeviceBuffer<float> by_wgmma(kTileRows * kTileColumns), by_mma(kTileRows * kTileColumns);
    cuda::clear(by_wgmma.data(), by_wgmma.size() * sizeof(float));
    cuda::launch({"wgmma_chain"}, wgmma_chain, {.x = 1, .threads = kWarpgroup, .shared_bytes = sizeof(WgmmaShared)},
                 by_wgmma.data(), a.data(), b.data(), K);
    cuda::launch({"mma_chain"}, mma_chain, {.x = 1, .threads = kWarpgroup}, by_mma.data(), a.data(), b.data(), K);
    cuda::synchronize();
    const std::vector<float> got = by_wgmma.values(), want = by_mma.values();
    double distance = 0;
    for (size_t i = 0; i < got.size(); ++i) distance = std::max(distance, static_cast<double>(std::fabs(got[i] - want[i])));
    const bool rounding = distance <= K * kLargestProduct * kRounding;
    fact(text("{\"probe\": \"wgmma\", \"K\": ", K, ", \"outputs\": ", got.size(),
              ", \"different\": ", different_bits(got, want), ", \"distance\": ", distance,
              ", \"only_rounding\": ", rounding ? "true" : "false", "}"));
  }
}

constexpr int64_t kRows[] = {1, 2, 8, 16, 32, 64, 128, 512, 2048, 8192};

// The own kernel, then every algorithm that cuBLASLt proposes (null: none to compare with).
void probe_product(CublasLt* library, const Layer& layer, int64_t M, const DeviceBuffer<bf16>& w, const DeviceBuffer<bf16>& x) {
  const auto [name, N, K] = layer;
  const double flops = 2.0 * static_cast<double>(M * N * K), bytes = 2.0 * static_cast<double>(N * K);
  DeviceBuffer<float> y(static_cast<size_t>(M * N)), wanted(y.size());
  const auto own = [&] { cuda::linear_forward(pool(), wanted.data(), N, x.data(), K, w.data(), M, N, K, false); };
  const double own_seconds = seconds_of(own);
  const std::string where = text("\"layer\": \"", name, "\", \"M\": ", M, ", \"N\": ", N, ", \"K\": ", K);
  fact(text("{\"probe\": \"own product\", ", where, ", \"seconds\": ", own_seconds,
            ", \"tflops\": ", flops / own_seconds / 1e12, ", \"weight_gb_per_s\": ", bytes / own_seconds / 1e9, "}"));
  if (!library) return;
  const cuda::Product product{M, N, K, true, false, x.data(), K, w.data(), K, y.data(), N};
  int64_t count = 0, agreeing = 0;
  double fastest = 0, fastest_agreeing = 0;
  for (const cuda::lt::Algorithm& algorithm : library->proposals(product, CublasLt::Depth::any)) {
    if (!library->multiply(product, algorithm)) continue;
    const double time = seconds_of([&] { library->multiply(product, algorithm); });
    const bool agrees = cuda::count_differences(y.data(), wanted.data(), M, N, N) == 0;
    fastest = fastest == 0 ? time : std::min(fastest, time);
    if (agrees && ++agreeing) fastest_agreeing = fastest_agreeing == 0 ? time : std::min(fastest_agreeing, time);
    ++count;
  }
  fact(text("{\"probe\": \"cublasLt\", ", where, ", \"algorithms\": ", count, ", \"agreeing\": ", agreeing,
            ", \"fastest_tflops\": ", fastest > 0 ? flops / fastest / 1e12 : 0,
            ", \"fastest_agreeing_tflops\": ", fastest_agreeing > 0 ? flops / fastest_agreeing / 1e12 : 0, "}"));
}

void probe_products(CublasLt* library) {
  for (const Layer& layer : kLayers) {
    const DeviceBuffer<bf16> w = cancelling(layer.N, layer.K, 3, false);
    for (const int64_t M : kRows) probe_product(library, layer, M, w, cancelling(M, layer.K, 4, true));
  }
}

void probe_copy() {
  for (const size_t mebibytes : {64, 1024})
    fact(text("{\"probe\": \"copy\", \"mebibytes\": ", mebibytes,
              ", \"gb_per_s\": ", copy_gigabytes_per_second(mebibytes << 20), "}"));
}

__global__ void empty_kernel() {}

void probe_launches() {
  constexpr int kLaunches = 1000;
  const auto many = [](cudaStream_t stream) {
    for (int i = 0; i < kLaunches; ++i) check(cudaLaunchKernel(empty_kernel, dim3(1), dim3(32), nullptr, 0, stream), "launch");
  };
  const double plain = seconds_of([&] { many(nullptr); }) / kLaunches;
  cudaStream_t stream;
  cudaGraph_t graph;
  cudaGraphExec_t replay;
  check(cudaStreamCreate(&stream), "stream");
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), "capture");
  many(stream);
  check(cudaStreamEndCapture(stream, &graph), "capture");
  check(cudaGraphInstantiate(&replay, graph, 0), "graph");
  const double replayed = seconds_of([&] { check(cudaGraphLaunch(replay, nullptr), "replay"); }) / kLaunches;
  fact(text("{\"probe\": \"launch\", \"microseconds\": ", plain * 1e6, ", \"in_a_graph\": ", replayed * 1e6, "}"));
  cudaGraphExecDestroy(replay);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
}

void run() {
  const cuda::DeviceInfo device = cuda::device_info();
  fact(text("{\"probe\": \"device\", ", device_json(device), "}"));
  probe_copy();
  probe_launches();
  if (device.major == 9) probe_wgmma();
  std::unique_ptr<CublasLt> library;
  try {
    library = std::make_unique<CublasLt>();
    fact(text("{\"probe\": \"cublasLt version\", \"version\": ", library->version(), "}"));
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
  }
  probe_products(library.get());
}

}  // namespace
}  // namespace zazen::probe

int main() { return zazen::bench::run_and_report(zazen::probe::run); }

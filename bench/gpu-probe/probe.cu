// Facts about a GPU that the CUDA kernels are designed around. Each is one JSON line; the last line is a document with all of
// them.
//   - Does a chain of wgmma have the bits of the same chain of mma.sync?
//   - Which algorithms of cuBLASLt have the bits of the canonical product, at the layers of Qwen2.5-7B and Llama-3.1-8B, and
//   how
//     fast are they and the own kernel? Data: large terms that cancel far apart in K, so that another order shows.
//   - The bandwidth of the skinny product (M <= 64), of a copy; the latency of a launch, alone and in a replayed graph.
// Build and run, in the project's root, on a machine with nvcc and a GPU (Hopper for wgmma):
//   cmake -S native -B build/probe -DZAZEN_ADDON=OFF -DZAZEN_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES=90a-real
//   cmake --build build/probe --target gpu_probe && build/probe/gpu_probe | tee probe.txt && tail -1 probe.txt >
//   bench/results/gpu-probe.json
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/rng.h"
#include "cublaslt.h"
#include "kernels/cuda/memory.h"
#include "kernels/cuda/ops.h"
#include "wgmma.cuh"

namespace zazen::probe {
namespace {

using cuda::DeviceBuffer;

constexpr int kRepetitions = 20;

void check(cudaError_t status, const char* what) {
  ZAZEN_CHECK(status == cudaSuccess, "CUDA", "[probe] ", what, ": ", cudaGetErrorString(status));
}

ThreadPool& pool() {
  static ThreadPool one(1);
  return one;
}

std::vector<std::string>& facts() {
  static std::vector<std::string> all;
  return all;
}
void fact(const std::string& json) {
  std::printf("%s\n", json.c_str());
  std::fflush(stdout);
  facts().push_back(json);
}

// Median seconds of a call on the default stream, after one that is not counted.
double seconds_of(const std::function<void()>& call) {
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "event");
  check(cudaEventCreate(&end), "event");
  call();
  std::vector<float> times(kRepetitions);
  for (float& milliseconds : times) {
    check(cudaEventRecord(begin), "record");
    call();
    check(cudaEventRecord(end), "record");
    check(cudaEventSynchronize(end), "wait");
    check(cudaEventElapsedTime(&milliseconds, begin, end), "elapsed");
  }
  std::sort(times.begin(), times.end());
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  return static_cast<double>(times[times.size() / 2]) / 1e3;
}

// Rows [rows, K] of numbers in -1 .. 1 among which pairs of large ones cancel, the second half of K away from the first: a sum
// in another order loses other bits.
std::vector<bf16> cancelling(int64_t rows, int64_t K, uint64_t seed, bool signs) {
  std::vector<bf16> out(static_cast<size_t>(rows * K));
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t k = 0; k < K; ++k) {
      const Counter random = philox(seed, {static_cast<uint32_t>(r), static_cast<uint32_t>(k % (K / 2)), k >= K / 2, 0});
      const bool large = philox(seed ^ 1, {0, static_cast<uint32_t>(k % (K / 2)), 0, 1})[0] % 16 == 0;
      const float small = 2 * uniform(random[0]) - 1, big = 512.0f * (1 + static_cast<float>(k % (K / 2) % 7));
      out[static_cast<size_t>(r * K + k)] = f32_to_bf16(!large ? small : signs && k >= K / 2 ? -big : big);
    }
  return out;
}

int64_t different_bits(const std::vector<float>& a, const std::vector<float>& b) {
  int64_t count = 0;
  for (size_t i = 0; i < a.size(); ++i) count += std::memcmp(&a[i], &b[i], sizeof(float)) != 0;
  return count;
}

void probe_wgmma() {
  for (const int K : {16, 64, 1024, 3584}) {
    const DeviceBuffer<bf16> a(cancelling(kTileRows, K, 1, true)), b(cancelling(kTileColumns, K, 2, false));
    DeviceBuffer<float> by_wgmma(kTileRows * kTileColumns), by_mma(kTileRows * kTileColumns);
    cuda::clear(by_wgmma.data(), by_wgmma.size() * sizeof(float));
    cuda::launch({"wgmma_chain"}, wgmma_chain, {.x = 1, .threads = kWarpgroup, .shared_bytes = sizeof(WgmmaShared)},
                 by_wgmma.data(), a.data(), b.data(), K);
    cuda::launch({"mma_chain"}, mma_chain, {.x = 1, .threads = kWarpgroup}, by_mma.data(), a.data(), b.data(), K);
    cuda::synchronize();
    const std::vector<float> got = by_wgmma.values(), want = by_mma.values();
    double distance = 0;  // far more than rounding: the operands were laid out wrongly, and the bits say nothing
    for (size_t i = 0; i < got.size(); ++i) distance = std::max(distance, static_cast<double>(std::fabs(got[i] - want[i])));
    fact(text("{\"probe\": \"wgmma\", \"K\": ", K, ", \"outputs\": ", got.size(),
              ", \"different\": ", different_bits(got, want), ", \"distance\": ", distance, "}"));
  }
}

struct Layer {
  const char* name;
  int64_t N, K;
};
constexpr Layer kLayers[] = {{"qwen2.5-7b qkv", 4608, 3584},   {"qwen2.5-7b out", 3584, 3584},
                             {"qwen2.5-7b up", 18944, 3584},   {"qwen2.5-7b down", 3584, 18944},
                             {"llama-3.1-8b qkv", 6144, 4096}, {"llama-3.1-8b out", 4096, 4096},
                             {"llama-3.1-8b up", 14336, 4096}, {"llama-3.1-8b down", 4096, 14336}};
constexpr int64_t kRows[] = {1, 2, 8, 16, 32, 64, 128, 512, 2048, 8192};

// The own kernel, then every algorithm that cuBLASLt proposes (null: none to compare with).
void probe_product(const CublasLt* library, const Layer& layer, int64_t M, const DeviceBuffer<bf16>& w,
                   const DeviceBuffer<bf16>& x) {
  const auto [name, N, K] = layer;
  const double flops = 2.0 * static_cast<double>(M * N * K), bytes = 2.0 * static_cast<double>(N * K);
  DeviceBuffer<float> y(static_cast<size_t>(M * N));
  const double own = seconds_of([&] { cuda::linear_forward(pool(), y.data(), N, x.data(), K, w.data(), M, N, K, false); });
  const std::vector<float> want = y.values();
  const std::string where = text("\"layer\": \"", name, "\", \"M\": ", M, ", \"N\": ", N, ", \"K\": ", K);
  fact(text("{\"probe\": \"own product\", ", where, ", \"seconds\": ", own, ", \"tflops\": ", flops / own / 1e12,
            ", \"weight_gb_per_s\": ", bytes / own / 1e9, "}"));
  if (!library) return;
  DeviceBuffer<std::byte> workspace(CublasLt::kWorkspace);
  const CublasLt::Problem problem = library->problem(M, N, K);
  int64_t index = 0, agreeing = 0;
  double fastest = 0, fastest_agreeing = 0;
  for (const CublasLt::Algorithm& algorithm : library->algorithms(problem)) {
    if (algorithm.state != 0) continue;
    const double time =
        seconds_of([&] { library->multiply(problem, algorithm, y.data(), x.data(), w.data(), workspace.data()); });
    const bool agrees = different_bits(y.values(), want) == 0;
    fastest = fastest == 0 ? time : std::min(fastest, time);
    if (agrees && ++agreeing) fastest_agreeing = fastest_agreeing == 0 ? time : std::min(fastest_agreeing, time);
    ++index;
  }
  library->release(problem);
  fact(text("{\"probe\": \"cublasLt\", ", where, ", \"algorithms\": ", index, ", \"agreeing\": ", agreeing,
            ", \"fastest_tflops\": ", fastest > 0 ? flops / fastest / 1e12 : 0,
            ", \"fastest_agreeing_tflops\": ", fastest_agreeing > 0 ? flops / fastest_agreeing / 1e12 : 0, "}"));
}

void probe_products(const CublasLt* library) {
  for (const Layer& layer : kLayers) {
    const DeviceBuffer<bf16> w(cancelling(layer.N, layer.K, 3, false));
    for (const int64_t M : kRows) {
      const DeviceBuffer<bf16> x(cancelling(M, layer.K, 4, true));
      probe_product(library, layer, M, w, x);
    }
  }
}

void probe_copy() {
  for (const size_t mebibytes : {64, 1024}) {
    const size_t bytes = mebibytes << 20;
    DeviceBuffer<std::byte> from(bytes), to(bytes);
    cuda::clear(from.data(), bytes);
    const double time =
        seconds_of([&] { check(cudaMemcpyAsync(to.data(), from.data(), bytes, cudaMemcpyDeviceToDevice), "copy"); });
    fact(text("{\"probe\": \"copy\", \"mebibytes\": ", mebibytes,
              ", \"gb_per_s\": ", 2.0 * static_cast<double>(bytes) / time / 1e9, "}"));
  }
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
  fact(text("{\"probe\": \"device\", \"name\": \"", device.name, "\", \"capability\": \"", device.major, ".", device.minor,
            "\", \"processors\": ", device.processors, ", \"memory_bytes\": ", device.memory_bytes,
            ", \"driver\": ", device.driver, ", \"runtime\": ", device.runtime, "}"));
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

int main() {
  try {
    zazen::probe::run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  std::string document = "[";
  for (const std::string& each : zazen::probe::facts()) document += (document.size() > 1 ? ", " : "") + each;
  std::printf("%s]\n", document.c_str());
  return 0;
}

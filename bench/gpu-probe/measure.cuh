// What the programs for a GPU share: timing, the layers that are measured, and their output. Each fact is one JSON line on
// stdout; the last line is a document with all of them.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "core/check.h"
#include "core/thread_pool.h"
#include "kernels/cuda/memory.h"

namespace zazen::bench {

constexpr int kRepetitions = 20;

inline void check(cudaError_t status, const char* what) {
  ZAZEN_CHECK(status == cudaSuccess, "CUDA", "[bench] ", what, ": ", cudaGetErrorString(status));
}

inline ThreadPool& pool() {
  static ThreadPool one(1);
  return one;
}

inline std::vector<std::string>& facts() {
  static std::vector<std::string> all;
  return all;
}
inline void fact(const std::string& json) {
  std::printf("%s\n", json.c_str());
  std::fflush(stdout);
  facts().push_back(json);
}

// Median seconds of a call on the default stream, after one that is not counted.
inline double seconds_of(const std::function<void()>& call) {
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

// Read and written by a copy within the device.
inline double copy_gigabytes_per_second(size_t bytes) {
  cuda::DeviceBuffer<std::byte> from(bytes), to(bytes);
  cuda::clear(from.data(), bytes);
  const double time =
      seconds_of([&] { check(cudaMemcpyAsync(to.data(), from.data(), bytes, cudaMemcpyDeviceToDevice), "copy"); });
  return 2.0 * static_cast<double>(bytes) / time / 1e9;
}

// y [M, N] = x [M, K] w [N, K]^T.
struct Layer {
  const char* name;
  int64_t N, K;
};
constexpr Layer kLayers[] = {{"qwen2.5-7b qkv", 4608, 3584},   {"qwen2.5-7b out", 3584, 3584},
                             {"qwen2.5-7b up", 18944, 3584},   {"qwen2.5-7b down", 3584, 18944},
                             {"llama-3.1-8b qkv", 6144, 4096}, {"llama-3.1-8b out", 4096, 4096},
                             {"llama-3.1-8b up", 14336, 4096}, {"llama-3.1-8b down", 4096, 14336}};

inline std::string device_json(const cuda::DeviceInfo& device) {
  return text("\"name\": \"", device.name, "\", \"capability\": \"", device.major, ".", device.minor,
              "\", \"processors\": ", device.processors, ", \"memory_bytes\": ", device.memory_bytes,
              ", \"driver\": ", device.driver, ", \"runtime\": ", device.runtime);
}

// The body of main: the status of the program, 1 where something failed, with its reason on stderr.
template <class Run>
int run_and_report(const Run& run) {
  int status = 0;
  try {
    run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    status = 1;
  }
  std::string document = "[";
  for (const std::string& each : facts()) document += (document.size() > 1 ? ", " : "") + each;
  std::printf("%s]\n", document.c_str());
  return status;
}

}  // namespace zazen::bench

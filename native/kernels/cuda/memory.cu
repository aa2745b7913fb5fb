// Device memory by CUDA's runtime.
#include <cuda_runtime.h>

#include "core/check.h"
#include "kernels/cuda/call.h"
#include "kernels/cuda/memory.h"

namespace zazen::cuda {
namespace {

// `what` says what was tried, with its sizes.
template <class... What>
void check(cudaError_t status, const What&... what) {
  if (status == cudaSuccess) return;
  const char* code = status == cudaErrorMemoryAllocation ? "OUT_OF_MEMORY" : "CUDA";
  cudaGetLastError();  // the next call starts without this error, unless the device is lost
  throw Error(code, failure(text("[cuda] ", what...), cudaGetErrorString(status), cudaGetErrorName(status)));
}

}  // namespace

void* allocate(size_t bytes) {
  if (bytes == 0) return nullptr;
  void* block = nullptr;
  check(cudaMalloc(&block, bytes), "allocating ", bytes, " bytes");
  return block;
}

void release(void* block) noexcept {
  if (block && cudaFree(block) != cudaSuccess) cudaGetLastError();
}

void upload(void* device, const void* host, size_t bytes) {
  if (bytes) check(cudaMemcpy(device, host, bytes, cudaMemcpyHostToDevice), "copying ", bytes, " bytes to the device");
}
void download(void* host, const void* device, size_t bytes) {
  if (bytes) check(cudaMemcpy(host, device, bytes, cudaMemcpyDeviceToHost), "copying ", bytes, " bytes from the device");
}
void clear(void* device, size_t bytes) {
  if (bytes) check(cudaMemset(device, 0, bytes), "clearing ", bytes, " bytes of the device");
}
void synchronize() { check(cudaDeviceSynchronize(), "waiting for the device"); }

DeviceInfo device_info() {
  int count = 0, device = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess) cudaGetLastError();
  ZAZEN_CHECK(status == cudaSuccess && count > 0, "NO_DEVICE", "[cuda] expected a CUDA device, got none: ",
              status == cudaSuccess ? "the driver lists no device" : cudaGetErrorString(status));
  check(cudaGetDevice(&device), "asking for the device");
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, device), "asking for the properties of device ", device);
  size_t free_bytes = 0, total_bytes = 0;
  check(cudaMemGetInfo(&free_bytes, &total_bytes), "asking for the memory of device ", device);
  DeviceInfo info{properties.name,
                  properties.major,
                  properties.minor,
                  properties.multiProcessorCount,
                  static_cast<int64_t>(total_bytes),
                  static_cast<int64_t>(free_bytes),
                  0,
                  0};
  check(cudaDriverGetVersion(&info.driver), "asking for the version of the driver");
  check(cudaRuntimeGetVersion(&info.runtime), "asking for the version of the runtime");
  return info;
}

}  // namespace zazen::cuda

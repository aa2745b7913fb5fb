// Starting kernels. A launch names its op and shapes, so that an error can say where it came from.
#pragma once

#include "core/check.h"
#include "kernels/cuda/call.h"
#include "kernels/cuda/device.cuh"

namespace zazen::cuda {

// Blocks and threads of each; the grid's limits are checked. Nothing is started for an empty grid.
struct Grid {
  int64_t x, y = 1;
  int threads;
  size_t shared_bytes = 0;
};
constexpr int64_t kMaxBlocks = (int64_t{1} << 31) - 1, kMaxBlocksY = 65535;

#if defined(ZAZEN_EMULATION)
template <class... Parameters>
void start(const Call& call, void (*kernel)(Parameters...), const Grid& grid, Parameters... parameters) {
  const auto body = [=] { kernel(parameters...); };
  emulation::run({call.describe(),
                  {static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y)},
                  {static_cast<unsigned>(grid.threads)},
                  grid.shared_bytes,
                  [](const void* of) { (*static_cast<const decltype(body)*>(of))(); },
                  &body,
                  sizeof body});
}
#else
// Bytes of shared memory that a block of the current device may have.
inline size_t shared_limit() {
  int device = 0, bytes = 0;
  if (cudaGetDevice(&device) == cudaSuccess) cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  return static_cast<size_t>(bytes);
}

// An error of a launch may be the fault of what was queued before it.
inline void check_launch(cudaError_t status, const Call& call) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // the next launch starts without this error, unless the device is lost
  throw Error("CUDA", failure(text("[", call.describe(), "]"), cudaGetErrorString(status), cudaGetErrorName(status)));
}

template <class... Parameters>
void start(const Call& call, void (*kernel)(Parameters...), const Grid& grid, Parameters... parameters) {
  constexpr size_t kSharedByDefault = 48 << 10;
  if (grid.shared_bytes > kSharedByDefault) {
    const cudaError_t status =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(grid.shared_bytes));
    if (status == cudaErrorInvalidValue) {
      cudaGetLastError();
      check_shared(call, grid.shared_bytes, shared_limit());
    }
    check_launch(status, call);
  }
  const dim3 blocks(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y));
  void* arguments[] = {&parameters...};
  check_launch(cudaLaunchKernel(kernel, blocks, dim3(static_cast<unsigned>(grid.threads)), arguments, grid.shared_bytes), call);
}
#endif

template <class... Parameters, class... Arguments>
void launch(const Call& call, void (*kernel)(Parameters...), const Grid& grid, Arguments&&... arguments) {
  if (grid.x == 0 || grid.y == 0) return;
  ZAZEN_CHECK(grid.x <= kMaxBlocks && grid.y <= kMaxBlocksY, "TOO_LARGE", "[", call.describe(), "] expected at most ",
              kMaxBlocks, " x ", kMaxBlocksY, " blocks, got ", grid.x, " x ", grid.y);
  start<Parameters...>(call, kernel, grid, static_cast<Parameters>(arguments)...);
  last_call() = call;
}

}  // namespace zazen::cuda

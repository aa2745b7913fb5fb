// Starting kernels. A launch names its op and shapes, so that an error can say where it came from.
#pragma once

#include <string>

#include "core/check.h"
#include "kernels/cuda/device.cuh"

namespace zazen::cuda {

// {"rmsnorm_forward", {{"T", T}, {"H", H}}}
struct Call {
  struct Size {
    const char* name = nullptr;
    int64_t value = 0;
  };
  const char* op;
  Size sizes[5] = {};

  std::string describe() const {
    std::string out = op;
    const char* separator = " of ";
    for (const Size& size : sizes) {
      if (!size.name) continue;
      out += text(separator, size.name, " ", size.value);
      separator = ", ";
    }
    return out;
  }
};

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
template <class... Parameters>
void start(const Call& call, void (*kernel)(Parameters...), const Grid& grid, Parameters... parameters) {
  constexpr size_t kSharedByDefault = 48 << 10;
  cudaError_t status = cudaSuccess;
  if (grid.shared_bytes > kSharedByDefault)
    status = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(grid.shared_bytes));
  if (status == cudaSuccess) {
    const dim3 blocks(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y));
    void* arguments[] = {&parameters...};
    status = cudaLaunchKernel(kernel, blocks, dim3(static_cast<unsigned>(grid.threads)), arguments, grid.shared_bytes);
  }
  if (status != cudaSuccess) cudaGetLastError();  // the next launch starts without this error, unless the device is lost
  ZAZEN_CHECK(status == cudaSuccess, "CUDA", "[", call.describe(), "] ", cudaGetErrorString(status), " (",
              cudaGetErrorName(status), ")");
}
#endif

template <class... Parameters, class... Arguments>
void launch(const Call& call, void (*kernel)(Parameters...), const Grid& grid, Arguments&&... arguments) {
  if (grid.x == 0 || grid.y == 0) return;
  ZAZEN_CHECK(grid.x <= kMaxBlocks && grid.y <= kMaxBlocksY, "TOO_LARGE", "[", call.describe(), "] expected at most ",
              kMaxBlocks, " x ", kMaxBlocksY, " blocks, got ", grid.x, " x ", grid.y);
  start<Parameters...>(call, kernel, grid, static_cast<Parameters>(arguments)...);
}

}  // namespace zazen::cuda

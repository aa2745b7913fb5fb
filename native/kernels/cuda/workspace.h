// Device memory for what lives inside one op: sums of segments, say. One block for each host thread, grown when an op needs
// more and kept; what an op left in it is lost with the next op.
#pragma once

#include "kernels/cuda/memory.h"

namespace zazen::cuda {

inline DeviceBuffer<std::byte>& workspace_block() {
  thread_local DeviceBuffer<std::byte> block;
  return block;
}

// `count` elements without values.
template <class T>
T* workspace(int64_t count) {
  DeviceBuffer<std::byte>& block = workspace_block();
  block.reserve(static_cast<size_t>(count) * sizeof(T));
  return reinterpret_cast<T*>(block.data());
}

}  // namespace zazen::cuda

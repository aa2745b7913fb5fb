// Arrays on the emulated device for tests of CUDA kernels.
#pragma once

#include "bf16.h"
#include "kernels/cuda/memory.h"
#include "kernels/cuda/ops.h"

namespace zazen::test {

template <class T>
using Device = cuda::DeviceBuffer<T>;

// An array whose first element lies `offset` elements behind an address of 16 bytes.
template <class T>
class Shifted {
 public:
  Shifted(const std::vector<T>& values, int64_t offset) : block_(values.size() + static_cast<size_t>(offset)), offset_(offset) {
    cuda::upload(data(), values.data(), values.size() * sizeof(T));
  }
  T* data() const { return block_.data() + offset_; }
  std::vector<T> values() const {
    std::vector<T> out(block_.size() - static_cast<size_t>(offset_));
    cuda::download(out.data(), data(), out.size() * sizeof(T));
    return out;
  }

 private:
  Device<T> block_;
  int64_t offset_;
};

// Floats as elements of type E, and back.
template <class E>
std::vector<E> typed(const Floats& x) {
  if constexpr (std::is_same_v<E, float>)
    return x;
  else
    return rounded(x);
}
inline Floats plain(const Floats& x) { return x; }
inline Floats plain(const Bf16s& x) { return widened(x); }

inline ThreadPool& no_threads() {
  static ThreadPool pool(1);
  return pool;
}

}  // namespace zazen::test

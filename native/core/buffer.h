// Owner of one aligned, zero-filled block of host memory. Views into it are plain pointers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "core/check.h"

namespace zazen {

template <class T>
class Buffer {
 public:
  static constexpr size_t kAlignment = 64;  // bytes: one cache line, one AVX-512 register

  Buffer() = default;
  explicit Buffer(size_t count) { reset(count); }
  Buffer(Buffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)), count_(std::exchange(other.count_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(count_, other.count_);
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { std::free(data_); }

  // Replaces the content by `count` zeros. The old block is freed first, so the peak is the larger of the two.
  void reset(size_t count) {
    std::free(std::exchange(data_, nullptr));
    count_ = 0;
    if (count == 0) return;
    ZAZEN_CHECK(count <= SIZE_MAX / sizeof(T) - kAlignment, "OUT_OF_MEMORY", "buffer: ", count, " elements overflow");
    const size_t bytes = (count * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
    data_ = static_cast<T*>(std::aligned_alloc(kAlignment, bytes));
    ZAZEN_CHECK(data_ != nullptr, "OUT_OF_MEMORY", "buffer: the system refused ", bytes, " bytes");
    std::memset(static_cast<void*>(data_), 0, bytes);
    count_ = count;
  }
  // Grows to at least `count` elements; content is lost when it grows.
  void reserve(size_t count) {
    if (count > count_) reset(count);
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  size_t size() const { return count_; }
  T& operator[](size_t i) { return data_[i]; }
  const T& operator[](size_t i) const { return data_[i]; }

 private:
  T* data_ = nullptr;
  size_t count_ = 0;
};

}  // namespace zazen

// Owner of one aligned, zero-filled block of host memory. Views into it are plain pointers. Large blocks lie in huge pages
// where the system gives them: weights are read through once a token, and with pages of 4 KiB a fifth of that time goes into
// finding them.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "core/account.h"
#include "core/check.h"

namespace zazen {

template <class T>
class Buffer {
 public:
  static constexpr size_t kAlignment = 64;              // bytes: one cache line, one AVX-512 register
  static constexpr size_t kHugePage = size_t{2} << 20;  // bytes

  Buffer() = default;
  explicit Buffer(size_t count) { reset(count); }
  Buffer(Buffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        count_(std::exchange(other.count_, 0)),
        account_(std::move(other.account_)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(count_, other.count_);
    std::swap(account_, other.account_);
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { release(); }

  // Bytes that a block of `count` elements takes; OUT_OF_MEMORY where they do not fit in 64 bits.
  static size_t bytes_of(size_t count) {
    ZAZEN_CHECK(count <= SIZE_MAX / 2 / sizeof(T) - kAlignment, "OUT_OF_MEMORY", "buffer: ", count, " elements overflow");
    return (count * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
  }

  // Replaces the content by `count` zeros. The old block is freed first, so the peak is the larger of the two.
  void reset(size_t count) {
    release();
    if (count == 0) return;
    const size_t bytes = bytes_of(count);
    void* block = nullptr;
    const int refused = posix_memalign(&block, bytes < kHugePage ? kAlignment : kHugePage, bytes);
    ZAZEN_CHECK(refused == 0, "OUT_OF_MEMORY", "buffer: the system refused ", bytes, " bytes");
    data_ = static_cast<T*>(block);
    advise_huge_pages(bytes);
    std::memset(static_cast<void*>(data_), 0, bytes);
    count_ = count;
    account_ = open_account();
    if (account_) account_->take(static_cast<int64_t>(bytes));
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
  // For the whole huge pages of the block; its end takes no more than it needs. A refusal costs speed alone.
  void advise_huge_pages([[maybe_unused]] size_t bytes) {
#ifdef MADV_HUGEPAGE
    if (bytes >= kHugePage) madvise(data_, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
  }
  void release() {
    if (account_) account_->give(static_cast<int64_t>(bytes_of(count_)));
    account_.reset();
    std::free(std::exchange(data_, nullptr));
    count_ = 0;
  }

  T* data_ = nullptr;
  size_t count_ = 0;
  Account account_;
};

}  // namespace zazen

// Device memory as host code sees it: owners, copies, and what the device is. No CUDA header is needed here. Every failure is
// an Error: OUT_OF_MEMORY, NO_DEVICE, or CUDA, with the runtime's own message and the call that was queued last (call.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace zazen::cuda {

void* allocate(size_t bytes);
void release(void* block) noexcept;
// Host to device, device to host, and zeros; each is done when it returns.
void upload(void* device, const void* host, size_t bytes);
void download(void* host, const void* device, size_t bytes);
void clear(void* device, size_t bytes);
// Waits for all work of the calling thread's device.
void synchronize();

struct DeviceInfo {
  std::string name;
  int major, minor;  // compute capability
  int processors;    // streaming multiprocessors
  int64_t memory_bytes, free_bytes;
  int driver, runtime;  // CUDA versions, 1000 * major + 10 * minor
};
// Throws NO_DEVICE when there is none that this build can use.
DeviceInfo device_info();

// Owner of `count` elements of device memory, which hold no value until something is written to them.
template <class T>
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  explicit DeviceBuffer(size_t count) : data_(static_cast<T*>(allocate(count * sizeof(T)))), count_(count) {}
  explicit DeviceBuffer(const std::vector<T>& values) : DeviceBuffer(values.size()) { write(values.data(), values.size()); }
  DeviceBuffer(DeviceBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), count_(std::exchange(other.count_, 0)) {}
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(count_, other.count_);
    return *this;
  }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;
  ~DeviceBuffer() { release(data_); }

  // Grows to at least `count` elements; content is lost when it grows.
  void reserve(size_t count) {
    if (count > count_) *this = DeviceBuffer(count);
  }
  T* data() const { return data_; }
  size_t size() const { return count_; }
  void write(const T* values, size_t count) { upload(data_, values, count * sizeof(T)); }
  void read(T* values, size_t count) const { download(values, data_, count * sizeof(T)); }
  std::vector<T> values() const {
    std::vector<T> out(count_);
    read(out.data(), count_);
    return out;
  }

 private:
  T* data_ = nullptr;
  size_t count_ = 0;
};

}  // namespace zazen::cuda

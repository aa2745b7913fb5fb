// A stack of its own that runs a function until it is suspended, and goes on where it was. All fibers belong to the OS thread
// that made them; address sanitizer is told of every switch. For x86-64.
#pragma once

#include <cstddef>

namespace emulation {

class Fiber {
 public:
  using Entry = void (*)(void* context);

  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // The next resume() calls entry(context) on a fresh stack; what ran here before is dropped.
  void start(Entry entry, void* context);
  // Runs the fiber until it suspends itself or its function returns.
  void resume();
  // From within the fiber: back to the caller of resume().
  void suspend();

  bool owns(const void* address) const {
    const auto* at = static_cast<const std::byte*>(address);
    return at >= stack_ && at < stack_ + kStackBytes;
  }

 private:
  static constexpr size_t kStackBytes = 64 << 10, kGuardBytes = 4096;
  static void enter();
  void run();

  std::byte* memory_;  // a guard page, then the stack
  std::byte* stack_;
  void* self_ = nullptr;  // stack pointers while suspended
  void* caller_ = nullptr;
  Entry entry_ = nullptr;
  void* context_ = nullptr;
  const void* caller_stack_ = nullptr;  // what address sanitizer knows of the caller's stack
  size_t caller_bytes_ = 0;
};

}  // namespace emulation

#include "emulation/fiber.h"

#include <sys/mman.h>

#include <utility>

#include "core/check.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

// Saves the registers that a call preserves and its stack pointer in *from, and takes up those of `to`.
extern "C" void emulation_switch(void** from, void* to);
asm(R"(
.text
.type emulation_switch, @function
emulation_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size emulation_switch, .-emulation_switch
)");

namespace emulation {
namespace {

constexpr int kSavedRegisters = 6;

#if defined(__SANITIZE_ADDRESS__)
void leave_stack(void** kept, const void* stack, size_t bytes) { __sanitizer_start_switch_fiber(kept, stack, bytes); }
void reach_stack(void* kept, const void** from, size_t* bytes) { __sanitizer_finish_switch_fiber(kept, from, bytes); }
void clean_stack(void* stack, size_t bytes) { __asan_unpoison_memory_region(stack, bytes); }
#else
void leave_stack(void**, const void*, size_t) {}
void reach_stack(void*, const void**, size_t*) {}
void clean_stack(void*, size_t) {}
#endif

Fiber* entered = nullptr;  // the fiber that enter() runs: a switch passes no arguments

}  // namespace

Fiber::Fiber() {
  void* block = mmap(nullptr, kGuardBytes + kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ZAZEN_CHECK(block != MAP_FAILED, "OUT_OF_MEMORY", "[emulation] the system refused the stack of a fiber");
  memory_ = static_cast<std::byte*>(block);
  stack_ = memory_ + kGuardBytes;
  mprotect(memory_, kGuardBytes, PROT_NONE);
}

Fiber::~Fiber() {
  clean_stack(stack_, kStackBytes);
  munmap(memory_, kGuardBytes + kStackBytes);
}

void Fiber::start(Entry entry, void* context) {
  entry_ = entry;
  context_ = context;
  clean_stack(stack_, kStackBytes);
  // The first switch pops registers and returns into enter(), which finds its stack as after a call.
  auto** top = reinterpret_cast<void**>(stack_ + kStackBytes);
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(&Fiber::enter);
  for (int i = 0; i < kSavedRegisters; ++i) *--top = nullptr;
  self_ = top;
}

void Fiber::resume() {
  entered = this;
  void* kept = nullptr;
  leave_stack(&kept, stack_, kStackBytes);
  emulation_switch(&caller_, self_);
  reach_stack(kept, nullptr, nullptr);
}

void Fiber::suspend() {
  void* kept = nullptr;
  leave_stack(&kept, caller_stack_, caller_bytes_);
  emulation_switch(&self_, caller_);
  reach_stack(kept, &caller_stack_, &caller_bytes_);
}

void Fiber::enter() { entered->run(); }

void Fiber::run() {
  reach_stack(nullptr, &caller_stack_, &caller_bytes_);
  entry_(context_);
  leave_stack(nullptr, caller_stack_, caller_bytes_);
  emulation_switch(&self_, caller_);
}

}  // namespace emulation

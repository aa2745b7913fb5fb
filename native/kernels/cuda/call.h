// The call of an op that starts a kernel, as errors name it.
#pragma once

#include <cstddef>
#include <string>

#include "core/check.h"

namespace zazen::cuda {

// {"rmsnorm_forward", {{"T", T}, {"H", H}}}
struct Call {
  struct Size {
    const char* name = nullptr;
    int64_t value = 0;
  };
  const char* op = nullptr;
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

// The last call that this thread has queued; without an op when there was none.
inline Call& last_call() {
  thread_local Call call;
  return call;
}

// A kernel's own fault is reported by a later call to CUDA, which does not say whose it is: the last call before it is the one
// to look at first.
inline std::string after_last_call() {
  return last_call().op ? text("; queued last before it: [", last_call().describe(), "]") : std::string();
}

// What an error of CUDA says: what was tried, CUDA's message and name of the error, and the last call.
inline std::string failure(const std::string& tried, const char* message, const char* name) {
  return text(tried, ": ", message, " (", name, ")", after_last_call());
}

// Throws UNSUPPORTED when a block of the call takes more bytes of shared memory than the device gives one.
inline void check_shared(const Call& call, size_t needed, size_t available) {
  ZAZEN_CHECK(needed <= available, "UNSUPPORTED", "[", call.describe(), "] expected a GPU with ", needed,
              " bytes of shared memory a block, got one with ", available);
}

}  // namespace zazen::cuda

// The addon's entry. State belongs to the environment that loads it, so worker threads can load it too.
#include <napi.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "binding/engine.h"
#include "binding/state.h"

namespace {

// Blocks from this size on are mapped one by one, so that an engine's go back to the system when it is disposed. It is glibc's
// own first value: left to itself, glibc raises it to the largest block that was ever freed, and keeps smaller ones for later.
[[maybe_unused]] constexpr int kMappedBytes = 128 * 1024;

void give_back_what_is_freed() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, kMappedBytes);
#endif
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  give_back_what_is_freed();
  env.SetInstanceData(new zazen::binding::EnvironmentState());  // freed by Node with the environment
  zazen::binding::EngineObject::define(env, exports);
  zazen::binding::define_kernels(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(zazen, init)

// The addon's entry. State belongs to the environment that loads it, so worker threads can load it too.
#include <napi.h>

#include "binding/engine.h"
#include "binding/state.h"

namespace {

Napi::Object init(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new zazen::binding::EnvironmentState());  // freed by Node with the environment
  zazen::binding::EngineObject::define(env, exports);
  zazen::binding::define_kernels(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(zazen, init)

// The JavaScript class over runtime/engine.h.
#pragma once

#include <napi.h>

#include <memory>

#include "binding/worker.h"
#include "runtime/engine.h"

namespace zazen::binding {

class EngineObject : public Napi::ObjectWrap<EngineObject> {
 public:
  static void define(Napi::Env env, Napi::Object exports);
  explicit EngineObject(const Napi::CallbackInfo& info);
  ~EngineObject() override;

 private:
  Napi::Value open(const Napi::CallbackInfo& info);
  Napi::Value reserve(const Napi::CallbackInfo& info);
  Napi::Value use_vocabulary(const Napi::CallbackInfo& info);
  Napi::Value generate(const Napi::CallbackInfo& info);
  Napi::Value take_tokens(const Napi::CallbackInfo& info);
  Napi::Value logprobs(const Napi::CallbackInfo& info);
  Napi::Value values(const Napi::CallbackInfo& info);
  Napi::Value forward_backward(const Napi::CallbackInfo& info);
  Napi::Value optim_step(const Napi::CallbackInfo& info);
  Napi::Value sync_reference(const Napi::CallbackInfo& info);
  Napi::Value save(const Napi::CallbackInfo& info);
  Napi::Value save_state(const Napi::CallbackInfo& info);
  Napi::Value load(const Napi::CallbackInfo& info);
  Napi::Value load_state(const Napi::CallbackInfo& info);
  Napi::Value gradient(const Napi::CallbackInfo& info);
  Napi::Value memory(const Napi::CallbackInfo& info);
  void abort(const Napi::CallbackInfo& info);
  void dispose(const Napi::CallbackInfo& info);

  template <class Result, class Work, class Convert>
  Napi::Value run(const Napi::CallbackInfo& info, Work work, Convert convert);
  template <class Act>
  Napi::Value perform(const Napi::CallbackInfo& info, Act act);
  Engine& engine();
  void close();

  using CleanupHook = Napi::Env::CleanupHook<void (*)(EngineObject*), EngineObject>;

  Napi::Env env_;
  CleanupHook cleanup_;
  bool environment_gone_ = false;
  Account account_ = std::make_shared<MemoryAccount>();  // of all Buffers made on the engine's thread and its pool's
  std::unique_ptr<Engine> engine_;
  Worker worker_;
};

}  // namespace zazen::binding

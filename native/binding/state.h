// What one JavaScript environment (the main thread, or a worker) owns: the threads of the kernels called on typed arrays.
#pragma once

#include <napi.h>

#include <memory>

#include "core/thread_pool.h"

namespace zazen::binding {

struct EnvironmentState {
  std::unique_ptr<ThreadPool> pool;

  // The pool with this many threads; remade when the number changes.
  ThreadPool& threads(int count) {
    if (!pool || pool->threads() != count) pool = std::make_unique<ThreadPool>(count);
    return *pool;
  }
};

void define_kernels(Napi::Env env, Napi::Object exports);

}  // namespace zazen::binding

// How a long call is watched and stopped from outside.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "core/check.h"

namespace zazen {

struct Control {
  std::atomic<bool> aborted{false};
  // Called from the engine's thread; must be quick.
  std::function<void(int64_t finished, int64_t total, int64_t tokens)> progress;

  void throw_if_aborted(const char* where) const {
    ZAZEN_CHECK(!aborted.load(std::memory_order_relaxed), "ABORTED", "[", where, "] stopped by its signal");
  }
};

}  // namespace zazen

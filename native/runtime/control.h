// How a long call is watched and stopped from outside.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <vector>

#include "core/check.h"

namespace zazen {

// A token that was drawn.
struct TokenEvent {
  int64_t sample;
  int32_t token;
  float logp, sampler_logp;
  int32_t finish;       // a Finish; abort while the sample goes on
  int32_t stop_string;  // see Sample
};

struct Control {
  std::atomic<bool> aborted{false};
  // Called from the engine's thread; must be quick.
  std::function<void(int64_t finished, int64_t total, int64_t tokens)> progress;
  // Takes the tokens of each step, from the engine's thread; may wait until there is room. Empty: nobody listens.
  std::function<void(const std::vector<TokenEvent>& events)> stream;

  void throw_if_aborted(const char* where) const {
    ZAZEN_CHECK(!aborted.load(std::memory_order_relaxed), "ABORTED", "[", where, "] stopped by its signal");
  }
};

}  // namespace zazen

// A deterministic automaton over bytes, made from a pattern by JavaScript. Every state can still reach an accepting one.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/check.h"

namespace zazen {

struct ByteAutomaton {
  static constexpr int32_t kDead = -1;

  std::array<uint8_t, 256> classes{};  // of each byte: bytes that no state tells apart share one
  int64_t class_count = 0;
  std::vector<int32_t> next;       // [states, class_count], kDead where the byte is refused; state 0 is the start
  std::vector<uint8_t> accepting;  // [states]

  int64_t states() const { return static_cast<int64_t>(accepting.size()); }
  int32_t step(int32_t state, uint8_t byte) const { return next[static_cast<size_t>(state * class_count + classes[byte])]; }

  void check() const {
    const auto valid = [&](int32_t state) { return state >= kDead && state < states(); };
    bool sound = class_count > 0 && next.size() == accepting.size() * static_cast<size_t>(class_count);
    for (const uint8_t c : classes) sound = sound && c < class_count;
    for (const int32_t state : next) sound = sound && valid(state);
    ZAZEN_CHECK(sound, "BAD_ARGUMENT", "[native] constraint: expected states and classes that exist");
  }
};

}  // namespace zazen

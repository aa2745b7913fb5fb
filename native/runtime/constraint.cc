#include "runtime/constraint.h"

#include <algorithm>

namespace zazen {
namespace {

constexpr int64_t kMaskBytes = int64_t{64} << 20;  // of masks that are kept

}  // namespace

Constraint::Constraint(const SamplingSpec& spec, const Vocabulary& vocabulary, int64_t vocab)
    : automaton_(spec.constraint), vocabulary_(vocabulary), vocab_(vocab), unusable_(static_cast<size_t>(vocab), 0) {
  for (const int32_t id : spec.banned) unusable_[static_cast<size_t>(id)] = 1;
  for (const int32_t id : spec.stop) {
    if (unusable_[static_cast<size_t>(id)]) continue;
    unusable_[static_cast<size_t>(id)] = 1;
    ends_.push_back(id);
  }
  if (!writes_every_byte()) find_dead_ends();
  ZAZEN_CHECK(
      !exhausted(kStart), "CONSTRAINT_UNSATISFIABLE",
      "[generate constraint] expected a text that the tokens can write, got a constraint without one; change it, or allow "
      "banned tokens");
}

int32_t Constraint::walk(int32_t state, std::string_view bytes) const {
  for (const char byte : bytes) {
    if (state == ByteAutomaton::kDead) break;
    state = automaton_.step(state, static_cast<uint8_t>(byte));
  }
  return state;
}

template <class Take>
void Constraint::for_tokens(int32_t state, const Take& take) const {
  std::vector<int32_t> path{state};  // path[d]: after d bytes of the token in hand
  const auto &order = vocabulary_.order(), &shared = vocabulary_.shared();
  for (size_t i = 0; i < order.size(); ++i) {
    const auto common = static_cast<size_t>(shared[i]);
    if (common >= path.size()) continue;  // begins with what was refused
    path.resize(common + 1);
    const std::string_view bytes = vocabulary_.bytes(order[i]);
    while (path.size() <= bytes.size()) {
      const int32_t next = automaton_.step(path.back(), static_cast<uint8_t>(bytes[path.size() - 1]));
      if (next == ByteAutomaton::kDead) break;
      path.push_back(next);
    }
    const bool usable = order[i] < vocab_ && !unusable_[static_cast<size_t>(order[i])];
    if (usable && path.size() == bytes.size() + 1) take(order[i], path.back());
  }
}

// Then every state of the automaton, which can reach an accepting one byte by byte, can do so token by token.
bool Constraint::writes_every_byte() const {
  std::vector<char> written(static_cast<size_t>(automaton_.class_count), 0);
  std::array<char, 256> bytes{};
  for (const int32_t token : vocabulary_.order()) {
    const std::string_view text = vocabulary_.bytes(token);
    if (text.size() == 1 && token < vocab_ && !unusable_[static_cast<size_t>(token)]) bytes[static_cast<uint8_t>(text[0])] = 1;
  }
  // One byte of a class is as good as another.
  for (size_t b = 0; b < bytes.size(); ++b)
    if (bytes[b]) written[automaton_.classes[b]] = 1;
  for (int64_t state = 0; state < automaton_.states(); ++state)
    for (int64_t c = 0; c < automaton_.class_count; ++c)
      if (!written[static_cast<size_t>(c)] &&
          automaton_.next[static_cast<size_t>(state * automaton_.class_count + c)] != ByteAutomaton::kDead)
        return false;
  return true;
}

// Marks states from which no tokens lead to an accepting one: backwards from the accepting ones over all tokens.
void Constraint::find_dead_ends() {
  const auto states = static_cast<size_t>(automaton_.states());
  std::vector<std::vector<int32_t>> before(states);
  std::vector<char> met(states, 0);
  std::vector<int32_t> open{kStart};
  met[kStart] = 1;
  while (!open.empty()) {
    const int32_t state = open.back();
    open.pop_back();
    for_tokens(state, [&](int32_t, int32_t next) {
      auto& sources = before[static_cast<size_t>(next)];
      if (sources.empty() || sources.back() != state) sources.push_back(state);
      if (!met[static_cast<size_t>(next)]) open.push_back(next);
      met[static_cast<size_t>(next)] = 1;
    });
  }
  dead_.assign(states, 1);
  for (size_t state = 0; state < states; ++state)
    if (automaton_.accepting[state]) open.push_back(static_cast<int32_t>(state));
  for (const int32_t state : open) dead_[static_cast<size_t>(state)] = 0;
  while (!open.empty()) {
    const int32_t state = open.back();
    open.pop_back();
    for (const int32_t source : before[static_cast<size_t>(state)]) {
      if (dead_[static_cast<size_t>(source)]) open.push_back(source);
      dead_[static_cast<size_t>(source)] = 0;
    }
  }
}

const Constraint::Mask& Constraint::mask(int32_t state) {
  Mask& mask = masks_[state];
  if (!mask.bits.empty()) return mask;
  mask.bits.assign(static_cast<size_t>(ceil_div(vocab_, 64)), 0);
  const auto allow = [&](int32_t token) {
    mask.bits[static_cast<size_t>(token / 64)] |= uint64_t{1} << (token % 64);
    mask.empty = false;
  };
  for_tokens(state, [&](int32_t token, int32_t next) {
    if (dead_.empty() || !dead_[static_cast<size_t>(next)]) allow(token);
  });
  if (automaton_.accepting[static_cast<size_t>(state)])
    for (const int32_t id : ends_) allow(id);
  return mask;
}

void Constraint::trim() {
  const int64_t each = ceil_div(vocab_, 64) * static_cast<int64_t>(sizeof(uint64_t));
  if (static_cast<int64_t>(masks_.size()) * each > kMaskBytes) masks_.clear();
}

}  // namespace zazen

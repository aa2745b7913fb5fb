// Which tokens a sample may go on with so that its text matches a pattern: an automaton over bytes, walked over the trie of the
// vocabulary. Masks are made when a state is first met and kept.
#pragma once

#include <memory>
#include <unordered_map>
#include <vector>

#include "runtime/generation.h"
#include "runtime/vocabulary.h"

namespace zazen {

class Constraint {
 public:
  // Throws CONSTRAINT_UNSATISFIABLE when no text of these tokens matches.
  Constraint(const SamplingSpec& spec, const Vocabulary& vocabulary, int64_t vocab);

  static constexpr int32_t kStart = 0;
  int32_t next(int32_t state, int32_t token) const { return walk(state, vocabulary_.bytes(token)); }
  // Bits of the tokens after which the text can still be brought to an end, and of the ids that end it where it may end.
  const uint64_t* allowed(int32_t state) { return mask(state).bits.data(); }  // [ceil(vocab / 64)]
  // Nothing may follow, not even an id that ends it.
  bool exhausted(int32_t state) { return mask(state).empty; }
  // Frees masks when there are too many. Between draws only: pointers from allowed() end here.
  void trim();

 private:
  struct Mask {
    std::vector<uint64_t> bits;
    bool empty = true;
  };

  int32_t walk(int32_t state, std::string_view bytes) const;
  // Calls take(token, state behind it) for every usable token that the automaton accepts.
  template <class Take>
  void for_tokens(int32_t state, const Take& take) const;
  bool writes_every_byte() const;
  void find_dead_ends();
  const Mask& mask(int32_t state);

  const ByteAutomaton& automaton_;
  const Vocabulary& vocabulary_;
  int64_t vocab_;
  std::vector<char> unusable_;  // [vocab]: banned, or ends a sample
  std::vector<int32_t> ends_;   // ids that end a sample and are not banned
  std::vector<char> dead_;      // [states]: no tokens lead to the end; empty: there are none such
  std::unordered_map<int32_t, Mask> masks_;
};

}  // namespace zazen

// Bytes of tokens: stop strings and masks against readings of the whole text, and automata that are no automata.
#include "runtime/constraint.h"

#include <algorithm>

#include "runtime/sequence.h"
#include "support.h"

namespace zazen::test {
namespace {

Vocabulary vocabulary(const std::vector<std::string>& tokens) {
  std::vector<uint8_t> bytes;
  Ints offsets{0};
  for (const std::string& token : tokens) {
    bytes.insert(bytes.end(), token.begin(), token.end());
    offsets.push_back(static_cast<int32_t>(bytes.size()));
  }
  return Vocabulary(bytes, offsets);
}

std::vector<std::string> random_tokens(size_t n, uint64_t seed) {
  std::vector<std::string> tokens;
  for (uint32_t i = 0; i < n; ++i) {
    const Counter draw = philox(seed, {i, 0, 0, 0});
    std::string token;
    for (uint32_t j = 0; j < draw[0] % 5; ++j) token.push_back(static_cast<char>('a' + philox(seed, {i, j, 1, 0})[1] % 3));
    tokens.push_back(token);
  }
  return tokens;
}

TEST(stop_tail_finds_the_string_that_is_complete_first) {
  const std::vector<std::string> stops = {"bb", "abb", "cabc", "aaaa"};
  for (uint64_t seed = 0; seed < 300; ++seed) {
    StopTail tail;
    std::string text;
    for (const std::string& token : random_tokens(40, seed)) {
      text += token;
      size_t end = std::string::npos, length = 0;
      int32_t want = -1;
      for (size_t i = 0; i < stops.size(); ++i) {
        const size_t at = text.find(stops[i]);
        if (at == std::string::npos) continue;
        const size_t here = at + stops[i].size();
        if (here > end || (here == end && stops[i].size() < length)) continue;
        end = here;
        length = stops[i].size();
        want = static_cast<int32_t>(i);
      }
      const int32_t got = tail.add(token, stops);
      CHECK(got == want);
      if (got >= 0) break;
    }
  }
}

// (a|bb)*c over bytes: states 0 (start), 1 (one b), 2 (end).
ByteAutomaton pattern() {
  ByteAutomaton automaton;
  automaton.classes['a'] = 1;
  automaton.classes['b'] = 2;
  automaton.classes['c'] = 3;
  automaton.class_count = 4;
  automaton.next = {-1, 0, 1, 2, -1, -1, 0, -1, -1, -1, -1, -1};
  automaton.accepting = {0, 0, 1};
  return automaton;
}
bool continues(const std::string& text) {  // some continuation matches
  size_t b = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == 'b') {
      ++b;
      continue;
    }
    if (b % 2 != 0) return false;
    if (text[i] == 'c') return i + 1 == text.size();
  }
  return true;
}

TEST(constraint_masks_are_those_of_every_token_by_itself) {
  const std::vector<std::string> tokens = random_tokens(500, 3);
  const Vocabulary words = vocabulary(tokens);
  SamplingSpec spec;
  spec.constraint = pattern();
  spec.constraint.check();
  spec.stop = {1, 499};
  spec.banned = {2, 17, 499};
  Constraint constraint(spec, words, 500);
  const std::string paths[] = {"", "b", "c", "abb"};
  for (const std::string& path : paths) {
    int32_t state = Constraint::kStart;
    for (const char byte : path) state = spec.constraint.step(state, static_cast<uint8_t>(byte));
    const uint64_t* allowed = constraint.allowed(state);
    for (int32_t t = 0; t < 500; ++t) {
      const bool is_end = t == 1, excluded = t == 2 || t == 17 || t == 499;
      const bool want = is_end ? path == "c" : !excluded && !tokens[t].empty() && continues(path + tokens[t]);
      CHECK((allowed[t / 64] >> (t % 64) & 1) == want);
    }
  }
  constraint.trim();
  CHECK(!constraint.exhausted(Constraint::kStart));
}

TEST(constraint_leaves_out_what_tokens_cannot_end) {
  const Vocabulary words = vocabulary({"a", "b", "bbc", ""});  // only one of them has a c
  SamplingSpec spec;
  spec.constraint = pattern();
  Constraint constraint(spec, words, 4);
  CHECK(constraint.allowed(0)[0] == 0b0111);
  CHECK(constraint.allowed(1)[0] == 0b0010);
  spec.banned = {2};
  CHECK_THROWS_CODE(Constraint(spec, words, 4), "CONSTRAINT_UNSATISFIABLE");
}

TEST(automata_and_vocabularies_that_are_none_are_refused) {
  ByteAutomaton automaton = pattern();
  automaton.next[3] = 3;
  CHECK_THROWS_CODE(automaton.check(), "BAD_ARGUMENT");
  automaton = pattern();
  automaton.classes[9] = 4;
  CHECK_THROWS_CODE(automaton.check(), "BAD_ARGUMENT");
  CHECK_THROWS_CODE(Vocabulary({1, 2}, {0, 3}), "BAD_ARGUMENT");
  CHECK_THROWS_CODE(Vocabulary({1, 2}, {0, 2, 1, 2}), "BAD_ARGUMENT");
}

}  // namespace
}  // namespace zazen::test

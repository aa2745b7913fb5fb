// A sample being generated: where its keys and values are, and what its sampling has to remember of its tokens.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "runtime/constraint.h"

namespace zazen {

// Distinct tokens of prompt and completion, for the penalties.
struct TokenCounts {
  std::vector<int32_t> ids;
  std::vector<int32_t> counts;  // times that each is in the completion
  std::vector<float> logits;    // scratch of the kernel
  std::unordered_map<int32_t, size_t> places;

  void add(int32_t id, bool completion) {
    const auto [place, is_new] = places.try_emplace(id, ids.size());
    if (is_new) {
      ids.push_back(id);
      counts.push_back(0);
      logits.push_back(0.0f);
    }
    if (completion) ++counts[place->second];
  }
};

// The end of a completion's bytes, as far back as a stop string may begin.
class StopTail {
 public:
  // Takes the bytes of one more token. Returns the stop string that is complete first, of those that end together the longest;
  // -1 when there is none.
  int32_t add(std::string_view bytes, const std::vector<std::string>& stops);

 private:
  std::string tail_;
};

struct Sequence {
  int64_t sample = 0;           // index into the result; the larger, the younger
  int64_t prompt = 0;           // index into the request
  int64_t length = 0;           // prompt and completion; the last token has no keys yet
  int64_t limit = 0;            // tokens that may still be added
  std::vector<int32_t> blocks;  // of positions [0, length - 1) at least; none while it waits
  TokenCounts counts;           // kept with penalties only
  StopTail tail;                // kept with stop strings only
  int32_t state = Constraint::kStart;
};

}  // namespace zazen

// Packed sequences for tests of attention.
#pragma once

#include <algorithm>
#include <cmath>
#include <utility>

#include "support.h"

namespace zazen::test {

inline const std::vector<int64_t> kLengths = {1, 63, 64, 65, 130};

// Sequences packed one after another; every block of the store starts as NaN, as stale memory might.
struct AttentionCase {
  int64_t heads, kv_heads, D;
  std::vector<int64_t> lengths;
  int64_t window;
  int64_t T = 0, block_count = 0;
  Floats q, k, v, dout;
  std::vector<Ints> blocks;  // of each sequence, scattered over the store

  AttentionCase(int64_t h, int64_t kv, int64_t d, std::vector<int64_t> n, int64_t w = 0)
      : heads(h), kv_heads(kv), D(d), lengths(std::move(n)), window(w) {
    for (const int64_t length : lengths) {
      T += length;
      block_count += ceil_div(length, kKeyTile);
    }
    q = random_floats(T * heads * D, 1, -2, 2);
    k = random_floats(T * kv_heads * D, 2, -2, 2);
    v = random_floats(T * kv_heads * D, 3);
    dout = random_floats(T * heads * D, 4);
    int32_t next = static_cast<int32_t>(block_count);
    for (const int64_t length : lengths) {
      Ints own;
      for (int64_t i = 0; i < ceil_div(length, kKeyTile); ++i) own.push_back(--next);
      blocks.push_back(own);
    }
  }
  KvShape kv() const { return {kv_heads, D}; }
  // First key that a row sees, `start` being the first of its sequence.
  int64_t first_key(int64_t start, int64_t row) const { return window ? std::max(start, row + 1 - window) : start; }
  Floats store() const { return Floats(static_cast<size_t>(block_count * kv().block_elements()), kNan); }
  int64_t start(size_t sequence) const {
    int64_t row = 0;
    for (size_t s = 0; s < sequence; ++s) row += lengths[s];
    return row;
  }
  std::vector<Span> spans() const {
    std::vector<Span> all;
    for (size_t s = 0; s < lengths.size(); ++s) all.push_back({start(s), lengths[s], 0, blocks[s].data()});
    return all;
  }
  AttentionArgs args(const std::vector<Span>& spans) const {
    return {kv(), heads, window, 1.0f / std::sqrt(static_cast<float>(D)), spans.data(), static_cast<int64_t>(spans.size())};
  }
};

}  // namespace zazen::test

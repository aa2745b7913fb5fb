// Cuts packed sequences into micro-batches and lays one out for the model. What is cut where never changes a result.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "model/transformer.h"

namespace zazen {

// Sequence s is ids[cu[s] .. cu[s + 1]).
struct PackedTokens {
  std::vector<int32_t> ids;  // [T]
  std::vector<int32_t> cu;   // [S + 1]
  int64_t sequences() const { return static_cast<int64_t>(cu.size()) - 1; }
};

struct MicroBatch {
  Rows rows;
  int64_t first_token = 0;      // of the packed tokens
  int64_t kv_blocks = 0;        // numbered 0 .. kv_blocks - 1
  std::vector<int32_t> blocks;  // the spans point into it
};

inline std::vector<std::pair<int64_t, int64_t>> cut_sequences(const PackedTokens& tokens, int64_t budget) {
  std::vector<std::pair<int64_t, int64_t>> cuts;
  for (int64_t first = 0, s = 0; s < tokens.sequences(); ++s) {
    const bool last = s + 1 == tokens.sequences();
    if (last || tokens.cu[static_cast<size_t>(s) + 2] - tokens.cu[static_cast<size_t>(first)] > budget) {
      cuts.emplace_back(first, s + 1);
      first = s + 1;
    }
  }
  return cuts;
}

inline MicroBatch lay_out(const PackedTokens& tokens, int64_t first, int64_t last) {
  MicroBatch batch;
  const auto at = [&](int64_t s) { return static_cast<int64_t>(tokens.cu[static_cast<size_t>(s)]); };
  batch.first_token = at(first);
  batch.rows.ids.assign(tokens.ids.begin() + at(first), tokens.ids.begin() + at(last));
  for (int64_t s = first; s < last; ++s) batch.kv_blocks += ceil_div(at(s + 1) - at(s), kKeyTile);
  batch.blocks.resize(static_cast<size_t>(batch.kv_blocks));
  for (int64_t b = 0; b < batch.kv_blocks; ++b) batch.blocks[static_cast<size_t>(b)] = static_cast<int32_t>(b);
  const int32_t* blocks = batch.blocks.data();
  for (int64_t s = first; s < last; ++s) {
    const int64_t length = at(s + 1) - at(s);
    if (length > 0) batch.rows.spans.push_back({at(s) - batch.first_token, length, 0, blocks});
    for (int64_t i = 0; i < length; ++i) batch.rows.positions.push_back(static_cast<int32_t>(i));
    blocks += ceil_div(length, kKeyTile);
  }
  return batch;
}

}  // namespace zazen

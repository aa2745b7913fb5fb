// Cuts packed sequences into micro-batches and lays one out for the model. What is cut where never changes a result.
#pragma once

#include <algorithm>
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
  int64_t first_sequence = 0;  // of the packed tokens
  int64_t first_token = 0;
  int64_t kv_blocks = 0;        // numbered 0 .. kv_blocks - 1
  std::vector<int32_t> blocks;  // the spans point into it
};

// KV blocks of a micro-batch at most: each sequence begins its own, so that many short ones would need far more than their
// tokens. Twice what whole blocks of `rows` tokens take leaves room for sequences from half a block on.
inline int64_t most_kv_blocks(int64_t rows) { return 2 * ceil_div(rows, kKeyTile); }

// As many sequences as fit within `budget` tokens and their most_kv_blocks; a longer one goes by itself. Each run of `together`
// sequences counts as one: it is never cut.
inline std::vector<std::pair<int64_t, int64_t>> cut_sequences(const PackedTokens& tokens, int64_t budget,
                                                              int64_t together = 1) {
  std::vector<std::pair<int64_t, int64_t>> cuts;
  int64_t first = 0, rows = 0, blocks = 0;
  for (int64_t s = 0; s < tokens.sequences(); s += together) {
    int64_t length = 0, own = 0;
    for (int64_t i = s; i < std::min(s + together, tokens.sequences()); ++i) {
      const int64_t one = tokens.cu[static_cast<size_t>(i) + 1] - tokens.cu[static_cast<size_t>(i)];
      length += one;
      own += ceil_div(one, kKeyTile);
    }
    if (s > first && (rows + length > budget || blocks + own > most_kv_blocks(budget))) {
      cuts.emplace_back(first, s);
      first = s;
      rows = blocks = 0;
    }
    rows += length;
    blocks += own;
  }
  if (first < tokens.sequences()) cuts.emplace_back(first, tokens.sequences());
  return cuts;
}

// The largest micro-batch that cut_sequences makes of calls of up to `tokens` tokens in sequences of up to `longest`, of which
// there are up to `sequences`; 0: unknown. Where sequences stay together, `longest` is that of all of them.
struct MicroBatchBound {
  int64_t rows, kv_blocks;
};

inline MicroBatchBound bound_micro_batch(int64_t budget, int64_t tokens, int64_t longest, int64_t sequences) {
  const int64_t room = std::max(budget, longest), rows = std::min(tokens, room);
  const int64_t begun = sequences == 0 ? rows : std::min(sequences, rows);  // each may leave a block with one token
  const int64_t blocks = std::min(most_kv_blocks(room), ceil_div(rows - begun, kKeyTile) + begun);
  return {rows, blocks};
}

inline MicroBatch lay_out(const PackedTokens& tokens, int64_t first, int64_t last) {
  MicroBatch batch;
  const auto at = [&](int64_t s) { return static_cast<int64_t>(tokens.cu[static_cast<size_t>(s)]); };
  batch.first_sequence = first;
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

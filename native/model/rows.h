// Rows of a batch, their cuts into blocks of whole sequences and into pieces, and where their keys and values are.
#pragma once

#include <algorithm>
#include <vector>

#include "kernels/kernels.h"

namespace zazen {

// Rows of several sequences laid end to end. `spans` say which rows are whose, and where their KV blocks are.
struct Rows {
  std::vector<int32_t> ids;        // [T]
  std::vector<int32_t> positions;  // [T]
  std::vector<Span> spans;
  int64_t count() const { return static_cast<int64_t>(ids.size()); }
};

// Cuts rows into pieces of at most `most`, within spans too: the keys and values of a piece stay for those after it.
inline std::vector<Rows> cut_pieces(const Rows& rows, int64_t most) {
  std::vector<Rows> pieces;
  for (int64_t first = 0; first < rows.count(); first += most) {
    const int64_t last = std::min(rows.count(), first + most);
    Rows& piece = pieces.emplace_back();
    piece.ids.assign(rows.ids.begin() + first, rows.ids.begin() + last);
    piece.positions.assign(rows.positions.begin() + first, rows.positions.begin() + last);
    for (const Span& span : rows.spans) {
      const int64_t begin = std::max(span.row, first), end = std::min(span.row + span.count, last);
      if (begin < end) piece.spans.push_back({begin - first, end - begin, span.position + begin - span.row, span.blocks});
    }
  }
  return pieces;
}

// Rows [first, first + count) of a batch: whole spans, whose rows are counted from `first`.
struct RowBlock {
  int64_t first = 0, count = 0;
  std::vector<Span> spans;
};

// Cuts rows between spans into at most `count` blocks of about the same size; long spans make fewer.
inline std::vector<RowBlock> cut_rows(const Rows& rows, int64_t count) {
  std::vector<RowBlock> blocks;
  for (Span span : rows.spans) {
    if (span.row * count >= static_cast<int64_t>(blocks.size()) * rows.count()) blocks.push_back({span.row, 0, {}});
    RowBlock& block = blocks.back();
    block.count += span.count;
    span.row -= block.first;
    block.spans.push_back(span);
  }
  return blocks;
}

// KV blocks of all layers: those of layer i begin at data + i * stride.
struct KvBlocks {
  TensorRef data;
  int64_t stride;
  TensorRef layer(int64_t index) const { return data + index * stride; }
};

}  // namespace zazen

// Causal grouped-query attention over KV blocks of 64 positions: flash-style, nothing of size T x T. This file writes the
// blocks and cuts the work into tasks; attention.h says in which order a row is computed.
#include "kernels/cpu/attention.h"

#include <numeric>

namespace zazen::ZAZEN_ISA {
namespace {

constexpr int64_t kTaskPairs = 1 << 20;  // pairs of multiply-adds in a task of many: tens of microseconds
constexpr int64_t kSoftmaxPairs = 8;     // what a query row and a key cost beside their head dimension
constexpr int64_t kFewRowsWeight = 8;    // pairs of few rows take longer
constexpr int64_t kWriteUnits = 4;       // of short spans, in a task

bool few_rows(const AttentionArgs& args, const Span& span) { return span.count * (args.heads / args.kv.kv_heads) < kFewRows; }

// Pairs of multiply-adds of rows [row, row + count) of a span and one KV head.
int64_t pairs(const AttentionArgs& args, const Span& span, int64_t row, int64_t count) {
  const int64_t before = span.position + row + (count + 1) / 2;
  const int64_t keys = args.window > 0 ? least(before, args.window) : before;
  return count * (args.heads / args.kv.kv_heads) * keys * (args.kv.head_dim + kSoftmaxPairs);
}

void forward_piece(TensorRef out, float* lse, TensorView q, TensorView blocks, const AttentionArgs& args, const Piece& piece) {
  for (int64_t unit = piece.begin; unit < piece.end;) {
    const int64_t index = unit / args.kv.kv_heads, first = unit % args.kv.kv_heads;
    const int64_t last = least(args.kv.kv_heads, first + piece.end - unit);
    const Span& span = args.spans[index];
    if (few_rows(args, span)) {
      for (int64_t row = 0; row < span.count; ++row) decode_position(out, lse, q, blocks, args, index, row, first, last);
      unit += last - first;
    } else {
      const Head head(args, unit++);
      forward_rows(out, lse, q, blocks, args.scale, head, piece.first * head.group, least(span.count, piece.last) * head.group);
    }
  }
}

template <class E>
void write_head(E* blocks, const E* k, const E* v, const Head& head) {
  const int64_t D = head.kv.head_dim;
  for (int64_t i = 0; i < head.span.count;) {
    const int64_t position = head.span.position + i, slot = position % kKeyTile;
    const int64_t rows = least(kKeyGroup - slot % kKeyGroup, head.span.count - i);  // of one group
    const int64_t from = (head.span.row + i) * head.key_row + head.index * D;
    E* keys = head.keys(blocks, position / kKeyTile);
    transpose(keys + head.kv.key_index(slot, 0), kKeyGroup, k + from, head.key_row, rows, D);
    E* values = keys + head.kv.key_elements() + slot * D;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t d = 0; d < D; d += kLanes) store(values + r * D + d, load(v + from + r * head.key_row + d, D - d), D - d);
    i += rows;
  }
}

}  // namespace

std::vector<Piece> cut_work(const AttentionArgs& args, int64_t step) {
  std::vector<Piece> pieces;
  Piece open{0, 0, 0, INT64_MAX};
  int64_t work = 0;
  const auto close = [&] {
    if (open.begin < open.end) pieces.push_back(open);
    open.begin = open.end;
    work = 0;
  };
  for (int64_t s = 0; s < args.span_count; ++s) {
    const Span& span = args.spans[s];
    const int64_t unit = pairs(args, span, 0, span.count) * (few_rows(args, span) ? kFewRowsWeight : 1);
    for (int64_t head = 0; head < args.kv.kv_heads; ++head) {
      if (unit <= kTaskPairs || step == 0) {
        ++open.end;
        if ((work += unit) >= kTaskPairs && (!few_rows(args, span) || head + 1 == args.kv.kv_heads)) close();
        continue;
      }
      close();
      for (int64_t first = 0, last; first < span.count; first = last) {
        for (last = first + step; last < span.count && pairs(args, span, first, last - first) < kTaskPairs;) last += step;
        pieces.push_back({open.end, open.end + 1, first, last});
      }
      open.begin = ++open.end;
    }
  }
  close();
  return pieces;
}

void kv_write(ThreadPool& pool, TensorRef blocks, TensorView k, TensorView v, const AttentionArgs& args) {
  const int64_t units = args.span_count * args.kv.kv_heads;
  parallel_pieces(pool, units, args.span_count > kWriteUnits * 8 ? kWriteUnits : 1, [&](int64_t begin, int64_t end) {
    with_type(blocks, [&]<class E>(E* to) {
      for (int64_t unit = begin; unit < end; ++unit) write_head(to, k.as<E>(), v.as<E>(), Head(args, unit));
    });
  });
}

void attention_forward(ThreadPool& pool, TensorRef out, float* lse, TensorView q, TensorView blocks,
                       const AttentionArgs& args) {
  const int64_t group = args.heads / args.kv.kv_heads;
  const std::vector<Piece> pieces = cut_work(args, kBlockRows / std::gcd(kBlockRows, group));
  parallel_for(pool, static_cast<int64_t>(pieces.size()),
               [&](int64_t i) { forward_piece(out, lse, q, blocks, args, pieces[i]); });
}

}  // namespace zazen::ZAZEN_ISA

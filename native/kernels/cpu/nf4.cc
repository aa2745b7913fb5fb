// 4-bit NormalFloat, in blocks of 64 numbers: a code is how many of the fifteen edges between levels are less than a number
// divided by the block's largest magnitude.
#include "kernels/cpu/block_scale.h"
#include "kernels/cpu/ops.h"

namespace zazen::ZAZEN_ISA {
namespace {

// A block of n numbers. What is past an odd end has the code of zero.
template <class T>
float quantize_block(uint8_t* codes, const T* x, int64_t n) {
  const BlockScale scale = block_scale(x, n);
  float code[kNf4Block];
  for_lanes(n, [&](int64_t i, auto lanes) {
    const F32x16 a = lanes.load(x + i) * set1(scale.inverse);
    F32x16 count = zero();
    for (const float edge : kNf4Map.edges) count = count + select_less(set1(edge), a, set1(1.0f), zero());
    store(code + i, count);
  });
  for (int64_t i = 0; i < n; i += 2)
    codes[i / 2] = static_cast<uint8_t>(static_cast<int>(code[i]) << 4 | static_cast<int>(code[i + 1]));
  return scale.largest;
}

template <class T>
void dequantize_block(T* out, const uint8_t* codes, float largest, int64_t n) {
  const F32x16 levels = load(kNf4Map.levels);
  for_lanes(n, [&](int64_t i, auto lanes) {
    int32_t code[kLanes] = {};
    for (int64_t j = 0; j < kLanes && i + j < n; ++j) code[j] = codes[(i + j) / 2] >> (j % 2 ? 0 : 4) & 0xF;
    lanes.store(out + i, permute(levels, code) * set1(largest));
  });
}

// Calls body(block, first, count) for blocks of n numbers.
template <class Body>
void for_blocks(ThreadPool& pool, int64_t n, const Body& body) {
  parallel_pieces(pool, ceil_div(n, kNf4Block), task_items(kNf4Block), [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * kNf4Block;
      body(block, first, n - first < kNf4Block ? n - first : kNf4Block);
    }
  });
}

}  // namespace

void nf4_quantize(ThreadPool& pool, uint8_t* codes, float* largest, TensorView x, int64_t n) {
  with_type(x, [&](const auto* in) {
    for_blocks(pool, n, [&](int64_t block, int64_t first, int64_t count) {
      largest[block] = quantize_block(codes + first / 2, in + first, count);
    });
  });
}

void nf4_dequantize(ThreadPool& pool, TensorRef out, const uint8_t* codes, const float* largest, int64_t n) {
  with_type(out, [&](auto* to) {
    for_blocks(pool, n, [&](int64_t block, int64_t first, int64_t count) {
      dequantize_block(to + first, codes + first / 2, largest[block], count);
    });
  });
}

}  // namespace zazen::ZAZEN_ISA

// The data of a trial of two ways to compute a product, and the comparison of their outputs, on the device.
#pragma once

#include "kernels/cuda/product.h"

namespace zazen::cuda {

// Fills an operand [lines of depth] of a product with numbers of magnitude 1 .. 2^13. Those of the second half of the depth
// repeat those of the first half, negated with `negate`: products of an operand of each kind cancel to zero, far apart, and
// what the rounding of their sums leaves depends on the order of the sums.
void fill_cancelling(bf16* data, int64_t lines, int64_t depth, int64_t ld, bool k_major, uint32_t seed, bool negate);
// Fills [rows, columns] with numbers in -1 .. 1.
void fill_start(TensorRef out, int64_t rows, int64_t columns, int64_t ld);
// Elements of [rows, columns] whose bits differ.
int64_t count_differences(TensorView a, TensorView b, int64_t rows, int64_t columns, int64_t ld);

}  // namespace zazen::cuda

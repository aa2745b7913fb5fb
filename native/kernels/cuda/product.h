// A product of bf16 matrices in device memory as data: what the own kernels and cuBLASLt both compute.
#pragma once

#include "core/tensor.h"

namespace zazen::cuda {

// out [rows, columns], row-major with ld_out, = left right^T, or out + left right^T. With k_major, left is [rows, depth] and
// right [columns, depth] (y = x W^T); else left is [depth, rows] and right [depth, columns] (dW = dy^T x), row-major too.
struct Product {
  int64_t rows, columns, depth;
  bool k_major, accumulate;
  const bf16* left;
  int64_t ld_left;
  const bf16* right;
  int64_t ld_right;
  TensorRef out;  // f32 or bf16
  int64_t ld_out;
};

}  // namespace zazen::cuda

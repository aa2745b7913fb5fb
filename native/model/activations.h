// What a forward pass leaves in memory, and what a backward pass needs beside it. Both grow and never shrink. Arrays of the
// model's type are TensorRefs. The residual stream is f32 even in a bf16 model: every layer adds to it, and rounding each sum
// would cost more accuracy than all other rounding together, to save two arrays of about a dozen. So are gradients between
// kernels, which two layers share the memory of; a matmul of bf16 weights rounds them as it reads them.
#pragma once

#include <vector>

#include "core/tensor.h"
#include "model/parameters.h"
#include "model/rows.h"

namespace zazen {

// One layer's arrays from some row on. T rows, H hidden, Q query width, K key width, I MLP width.
struct LayerActivations {
  float *input, *input_rstd;    // [T, H], [T]
  TensorRef input_normed;       // [T, H]
  TensorRef q, k, v;            // [T, Q], [T, K], [T, K]; k and v are shared by all layers
  TensorRef q_raw, k_raw;       // before their norm; null without it
  float *q_rstd, *k_rstd;       // [T, heads], [T, kv_heads]; null without a norm
  TensorRef attention;          // [T, Q]
  float* lse;                   // [T, heads]
  float *middle, *middle_rstd;  // [T, H], [T]
  TensorRef middle_normed;      // [T, H]
  TensorRef gate, up, mlp;      // [T, I]
  float* output;                // [T, H]: the next layer's input
  // With adapters. What all layers share is memory of one linear layer at a time.
  TensorRef lora[kLinears];     // [T, rank]: scale * A x
  float *lora_low, *lora_sums;  // [T, rank] A x, [T, widest output] sums before they are rounded; shared by all layers
};

// After the last layer.
struct FinalActivations {
  float *output, *rstd;  // [T, H], [T]
  TensorRef normed;      // [T, H]
};

// For training every layer has its own memory, otherwise all layers share one. With `recompute` a layer has its own input,
// attention output, lse and adapter of down, from which the backward pass computes the rest again: attention costs the square
// of a sequence's length, the rest what its weights cost. Two neighbouring layers have their own rest, since the weight
// gradients of one are summed while the rows of the one below are worked on.
class Activations {
 public:
  void plan(const ModelSpec& spec, int64_t rows, int64_t kv_blocks, bool training, bool recompute = false);
  // What plan would make room for.
  static int64_t bytes(const ModelSpec& spec, int64_t rows, int64_t kv_blocks, bool training, bool recompute = false);
  // Arrays from row `first` on.
  LayerActivations layer(int64_t index, int64_t first) const;
  FinalActivations final(int64_t first) const;
  TensorView normed() const { return final_.normed; }
  KvBlocks kv() const { return kv_; }
  bool recomputed() const { return recomputed_; }

 private:
  // For a counting or placing Layouter.
  template <class Layouter>
  void lay_out(Layouter& out, int64_t rows, int64_t kv_blocks);
  void shape(const ModelSpec& spec, bool training, bool recompute);

  ModelSpec spec_;
  Buffer<std::byte> memory_;
  std::vector<LayerActivations> layers_;
  FinalActivations final_{};
  KvBlocks kv_{};
  bool training_ = false, recomputed_ = false;
};

// Gradients in one layer from some row on. Those of gate and up overwrite the activations.
struct LayerGradients {
  float *output, *middle, *input;  // [T, H]: of the residual stream
  float *mlp, *middle_normed;      // [T, I], [T, H]
  float *attention, *q, *k, *v;    // [T, Q], [T, Q], [T, K], [T, K]
  float *q_normed, *k_normed;      // [T, Q], [T, K]: with qk_norm; else q and k
  float* input_normed;             // [T, H]
  float* lora[kLinears];           // [T, rank]: of A x, with adapters
};

// Two neighbouring layers have their own memory, but for mlp and attention: the weight gradients of one are summed while the
// rows of the one below are worked on. A layer's input gradient is the output gradient of the one below.
class GradientWorkspace {
 public:
  void plan(const ModelSpec& spec, int64_t rows);
  static int64_t bytes(const ModelSpec& spec, int64_t rows);
  LayerGradients layer(int64_t index, int64_t first) const;
  float* normed() { return normed_; }             // [T, H]: of the final normed rows
  TensorRef transposed() { return transposed_; }  // room for the weights of a layer, or of kHeadRows rows of the head

  static constexpr int64_t kHeadRows = 2048;  // a multiple of the panel

 private:
  template <class Layouter>
  void lay_out(Layouter& out, int64_t rows);

  ModelSpec spec_;
  Buffer<std::byte> memory_;
  LayerGradients layers_[2]{};  // of even and odd layers; output and input are set by layer()
  float* residual_[3]{};        // [T, H]
  float* normed_ = nullptr;
  TensorRef transposed_;
};

}  // namespace zazen

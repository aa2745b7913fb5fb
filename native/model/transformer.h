// Forward and backward of the transformer body, from token ids to normed hidden rows and back. The head is the caller's: it
// works on chosen rows in chunks (model/head.h), because logits of all tokens are never held at once.
#pragma once

#include <vector>

#include "core/buffer.h"
#include "kernels/kernels.h"
#include "model/parameters.h"

namespace zazen {

// Rows of several sequences laid end to end. `spans` say which rows are whose, and where their KV blocks are.
struct Rows {
  std::vector<int32_t> ids;        // [T]
  std::vector<int32_t> positions;  // [T]
  std::vector<Span> spans;
  int64_t count() const { return static_cast<int64_t>(ids.size()); }
};

// What one layer's forward leaves for its backward. T rows, H hidden, Q query width, I MLP width.
struct LayerActivations {
  float *input, *input_rstd, *input_normed;  // [T, H], [T], [T, H]
  float *q, *attention, *lse;                // [T, Q], [T, Q], [T, heads]
  float *middle, *middle_rstd, *middle_normed;
  float *gate, *up, *mlp;  // [T, I]
  float* kv;               // blocks of this layer
};

// Memory of a forward. For training every layer has its own, otherwise all layers share one. Grows, never shrinks.
class Activations {
 public:
  void plan(const ModelSpec& spec, int64_t rows, int64_t kv_blocks, bool training);
  LayerActivations layer(int64_t index) const;
  float* output() const { return output_; }            // [T, H] after the last layer
  float* output_rstd() const { return output_rstd_; }  // [T]
  float* normed() const { return normed_; }            // [T, H]
  float* k() const { return k_; }                      // [T, K], of the current layer
  float* v() const { return v_; }

 private:
  Buffer<float> memory_;
  std::vector<LayerActivations> layers_;
  float *output_ = nullptr, *output_rstd_ = nullptr, *normed_ = nullptr, *k_ = nullptr, *v_ = nullptr;
};

// Gradients that travel down the layers. Grows, never shrinks.
struct GradientWorkspace {
  Buffer<float> dx, dnormed;     // [T, H]
  Buffer<float> dq, dattention;  // [T, Q]
  Buffer<float> dk, dv;          // [T, K]
  Buffer<float> dmlp;            // [T, I]
  Buffer<float> scratch;         // for linear_backward_input
};

class Transformer {
 public:
  Transformer(const ModelSpec& spec, const ParameterList& parameters, const Kernels& kernels, ThreadPool& pool);

  // Fills activations.normed() for rows. K and V go to `kv(layer)`, which may be the activations' own blocks or a cache.
  template <class KvOfLayer>
  void forward(const float* weights, const Rows& rows, Activations& activations, const KvOfLayer& kv) const {
    embed(weights, rows, activations);
    for (int64_t i = 0; i < spec_.layers; ++i) forward_layer(weights, i, rows, activations, kv(i));
    finish(weights, rows, activations);
  }
  // From workspace.dnormed [T, H] (gradient of activations.normed()) to all parameter gradients. The embedding's goes to
  // `embedding_gradient` [V, H] row-major, which is a buffer of its own when the head is tied: the two sums must not
  // interleave.
  void backward(const float* weights, float* gradients, float* embedding_gradient, const Rows& rows, Activations& activations,
                GradientWorkspace& workspace) const;
  void plan(GradientWorkspace& workspace, int64_t rows) const;

  const ModelSpec& spec() const { return spec_; }
  const Kernels& kernels() const { return kernels_; }
  ThreadPool& pool() const { return pool_; }
  const ParameterList& parameters() const { return parameters_; }

 private:
  void plan_angles(const Rows& rows) const;
  AttentionArgs attention_args(const Rows& rows) const;
  void embed(const float* weights, const Rows& rows, Activations& activations) const;
  void forward_layer(const float* weights, int64_t index, const Rows& rows, Activations& activations, float* kv) const;
  void finish(const float* weights, const Rows& rows, Activations& activations) const;
  void backward_mlp(const float* weights, float* gradients, int64_t index, int64_t T, const LayerActivations& a,
                    GradientWorkspace& ws) const;
  void backward_attention(const float* weights, float* gradients, int64_t index, const Rows& rows, const LayerActivations& a,
                          GradientWorkspace& ws) const;
  void linear(float* y, const float* x, const float* weights, const Parameter& p, int64_t T) const;
  // dx (+)= dy W and dW += dy^T x.
  void linear_backward(float* dx, bool accumulate, float* gradients, const float* dy, const float* x, const float* weights,
                       const Parameter& p, int64_t T, float* scratch) const;

  const ModelSpec& spec_;
  const ParameterList& parameters_;
  const Kernels& kernels_;
  ThreadPool& pool_;
  // [positions, head_dim / 2]; grows to the longest sequence met, since a model's limit may be far beyond it.
  mutable Buffer<float> cos_, sin_;
  mutable int64_t angles_ = 0;  // positions in the tables
};

}  // namespace zazen

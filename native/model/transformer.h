// Forward and backward of the transformer body, from token ids to normed hidden rows and back. The head is the caller's: it
// works on chosen rows in chunks (model/head.h), because logits of all tokens are never held at once.
#pragma once

#include <atomic>
#include <functional>
#include <vector>

#include "model/activations.h"

namespace zazen {

class Transformer {
 public:
  Transformer(const ModelSpec& spec, const ParameterList& parameters, const Kernels& kernels, ThreadPool& pool);

  // Fills activations.normed() for rows. Keys and values go to `kv`, which may be the activations' own blocks or a cache. Once
  // `stop` is set it ends within half a layer: returns false, and what was written is of no use.
  bool forward(TensorView weights, const Rows& rows, const Activations& activations, const KvBlocks& kv,
               const std::atomic<bool>* stop = nullptr) const;
  // From workspace.normed() to the gradients of all that is trained, which are added to. The embedding's goes to
  // `embedding_gradient` [V, H] row-major, a buffer of its own when the head is tied: the two sums must not interleave.
  void backward(TensorView weights, float* gradients, float* embedding_gradient, const Rows& rows,
                const Activations& activations, GradientWorkspace& workspace) const;

  // Rows of a training micro-batch beyond which nothing is gained: a small model's activations had better stay in the caches.
  int64_t useful_rows() const { return useful_rows(spec_, parameters_, pool_.threads()); }
  static int64_t useful_rows(const ModelSpec& spec, const ParameterList& parameters, int64_t threads);
  // Samples generated at once beyond which nothing is gained, when keys and values of one take `bytes`: every token reads those
  // of its whole sample, so a small model's had better stay in the caches. A large model reads its weights for every token, the
  // less often the more samples there are.
  int64_t useful_samples(int64_t bytes) const { return useful_samples(spec_, parameters_, pool_.threads(), bytes); }
  static int64_t useful_samples(const ModelSpec& spec, const ParameterList& parameters, int64_t threads, int64_t bytes);

  // Makes the tables of angles for sequences up to this length.
  void reserve(int64_t positions) const;
  // Of those tables.
  static int64_t angle_bytes(const ModelSpec& spec, int64_t positions) {
    return positions * spec.head_dim * dtype_bytes(DType::f32);
  }

  const ModelSpec& spec() const { return spec_; }
  const Kernels& kernels() const { return kernels_; }
  ThreadPool& pool() const { return pool_; }
  const ParameterList& parameters() const { return parameters_; }

 private:
  class Pass;
  using BlockBody = std::function<void(const Pass&, int64_t first)>;
  using Task = std::function<void()>;
  // The transposed weights of a linear layer and its adapter, and of a layer.
  struct TransposedLinear {
    TensorView w, a, b;
  };
  struct Transposed {
    TransposedLinear q, k, v, o, gate, up, down;
  };

  static bool is_small(const ModelSpec& spec, const ParameterList& parameters);  // all weights stay in the caches
  int64_t window(int64_t layer) const { return spec_.windows[static_cast<size_t>(layer)]; }
  void plan_angles(const Rows& rows) const;
  void make_angles(int64_t positions) const;
  std::vector<RowBlock> cut(const Rows& rows) const;
  void for_blocks(TensorView weights, const Rows& rows, const std::vector<RowBlock>& blocks, const std::vector<Task>& others,
                  const BlockBody& body) const;
  Transposed transpose_layer(TensorView weights, int64_t index, TensorRef memory) const;
  std::vector<Task> weight_gradients(float* gradients, int64_t index, int64_t T, const LayerActivations& a,
                                     const LayerGradients& g) const;
  void add_linear_gradients(std::vector<Task>& tasks, float* gradients, const LinearParameters& p, TensorView dy, TensorView x,
                            const LayerActivations& a, const LayerGradients& g, int64_t T) const;
  void add_weight_gradient(std::vector<Task>& tasks, float* gradients, const Parameter& p, TensorView dy, TensorView x,
                           int64_t T) const;

  const ModelSpec& spec_;
  const ParameterList& parameters_;
  const Kernels& kernels_;
  ThreadPool& pool_;
  mutable ThreadPool serial_{1};  // for the kernels inside a task
  // [positions, head_dim / 2]; grows to the longest sequence met, since a model's limit may be far beyond it.
  mutable Buffer<float> cos_, sin_;
  mutable int64_t angles_ = 0;  // positions in the tables
};

}  // namespace zazen

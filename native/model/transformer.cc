#include "model/transformer.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace zazen {
namespace {

// Weights up to this size stay in the caches, so that every block of rows may read them again.
constexpr int64_t kSmallWeights = int64_t{32} << 20;  // bytes
constexpr int64_t kRowsPerThread = 1024;              // of a small model's micro-batch
constexpr int64_t kBlocksPerThread = 2;               // so that a slow thread does not hold up the others
constexpr int64_t kNearBytes = int64_t{3} << 20;      // keys and values of a small model's running samples, a thread
constexpr int64_t kSamplesPerThread = 2;              // at least
constexpr int64_t kWeightTasksPerThread = 2;          // of one weight's gradient: more would read the inputs too often
constexpr int64_t kSplitRows = 16;                    // a block of fewer would not repay a second one a thread
constexpr int64_t kMaxBlockRows = 128;

}  // namespace

Transformer::Transformer(const ModelSpec& spec, const ParameterList& parameters, const Kernels& kernels, ThreadPool& pool)
    : spec_(spec), parameters_(parameters), kernels_(kernels), pool_(pool) {}

bool Transformer::is_small() const { return parameters_.elements() * dtype_bytes(spec_.dtype) <= kSmallWeights; }

int64_t Transformer::useful_rows() const {
  return is_small() ? kRowsPerThread * pool_.threads() : std::numeric_limits<int64_t>::max();
}

int64_t Transformer::useful_samples(int64_t bytes) const {
  if (!is_small()) return std::numeric_limits<int64_t>::max();
  return std::max(kSamplesPerThread, kNearBytes / bytes) * pool_.threads();
}

void Transformer::plan_angles(const Rows& rows) const {
  int64_t positions = 0;
  for (const Span& span : rows.spans) positions = std::max(positions, span.position + span.count);
  if (positions <= angles_) return;
  const int64_t wanted = std::min(spec_.max_positions, std::max(positions, 2 * angles_));
  angles_ = 0;  // until the tables are whole again
  const int64_t half = spec_.head_dim / 2;
  cos_.reset(static_cast<size_t>(wanted * half));
  sin_.reset(static_cast<size_t>(wanted * half));
  for (int64_t d = 0; d < half; ++d) {
    const float frequency = spec_.rope_frequencies[static_cast<size_t>(d)];
    for (int64_t position = 0; position < wanted; ++position) {
      // Single-precision angles, as transformers computes them.
      const double angle = static_cast<double>(static_cast<float>(position) * frequency);
      cos_[static_cast<size_t>(position * half + d)] = static_cast<float>(std::cos(angle)) * spec_.rope_scale;
      sin_[static_cast<size_t>(position * half + d)] = static_cast<float>(std::sin(angle)) * spec_.rope_scale;
    }
  }
  angles_ = wanted;
}

// All that is done to a block of rows and leads to no sum over rows. The same code runs on the whole batch with the threads
// inside each kernel, and on a few sequences inside a task.
class Transformer::Pass {
 public:
  Pass(const Transformer& model, ThreadPool& pool, TensorView weights, const Rows& rows, const RowBlock& block)
      : m_(model),
        k_(model.kernels_),
        s_(model.spec_),
        pool_(pool),
        weights_(weights),
        ids_(rows.ids.data() + block.first),
        positions_(rows.positions.data() + block.first),
        T_(block.count),
        spans_(block.spans) {}

  void embed(float* x) const {
    const Parameter& table = m_.parameters_.embedding();
    const EmbeddingTable view{weights_ + table.offset, table.layout == Layout::panels, s_.vocab, s_.hidden};
    k_.embedding_forward(pool_, x, view, ids_, T_);
  }

  // middle = input + o(attention(rope(q(n)), rope(k(n)), v(n))), n = rmsnorm(input). Heads of q and k may have a norm before
  // rope.
  void forward_attention(const LayerParameters& p, const LayerActivations& a, TensorRef kv, int64_t window) const {
    project(p, a, kv, window);
    k_.attention_forward(pool_, a.attention, a.lse, a.q, kv, attention_args(window));
    leave_attention(p, a);
  }

  // output = middle + down(silu(gate(n)) * up(n)), n = rmsnorm(middle).
  void forward_mlp(const LayerParameters& p, const LayerActivations& a) const {
    gate_mlp(p, a);
    linear(a.output, a.mlp, p.down);
    k_.add(pool_, a.output, a.middle, T_ * s_.hidden);
  }

  // What the backward pass reads of a layer that kept its input and attention: the output of down is not among it.
  void recompute(const LayerParameters& p, const LayerActivations& a, TensorRef kv, int64_t window) const {
    project(p, a, kv, window);
    leave_attention(p, a);
    gate_mlp(p, a);
  }

  void finish(const FinalActivations& a) const {
    k_.rmsnorm_forward(pool_, a.normed, a.rstd, a.output, at(m_.parameters_.norm()), T_, s_.hidden, s_.rms_norm_eps);
  }

  void backward_finish(float* doutput, const float* dnormed, const FinalActivations& a) const {
    std::fill_n(doutput, T_ * s_.hidden, 0.0f);
    backward_norm(doutput, doutput, dnormed, a.output, a.rstd, m_.parameters_.norm());
  }

  // From the gradient of output to that of middle. Those of gate and up take the place of the activations.
  void backward_mlp(const LayerParameters& p, const Transposed& w, const LayerActivations& a, const LayerGradients& g) const {
    transposed_linear(g.mlp, g.output, w.down, p.down, false);
    k_.swiglu_backward(pool_, a.gate, a.up, g.mlp, T_, s_.intermediate);
    transposed_linear(g.middle_normed, a.gate, w.gate, p.gate, false);
    transposed_linear(g.middle_normed, a.up, w.up, p.up, true);
    backward_norm(g.middle, g.output, g.middle_normed, a.middle, a.middle_rstd, p.post_norm);
  }

  // From the gradient of middle to that of input.
  void backward_attention(const LayerParameters& p, const Transposed& w, const LayerActivations& a, const LayerGradients& g,
                          TensorView kv, int64_t window) const {
    transposed_linear(g.attention, g.middle, w.o, p.o, false);
    k_.attention_backward(pool_, g.q_normed, g.k_normed, g.v, g.attention, a.attention, a.lse, a.q, kv, attention_args(window));
    rotate(g.q_normed, s_.heads, -1.0f);
    rotate(g.k_normed, s_.kv_heads, -1.0f);
    if (s_.qk_norm) {
      backward_head_norm(g.q, g.q_normed, a.q_raw, a.q_rstd, p.q_norm, s_.heads);
      backward_head_norm(g.k, g.k_normed, a.k_raw, a.k_rstd, p.k_norm, s_.kv_heads);
    }
    transposed_linear(g.input_normed, g.q, w.q, p.q, false);
    transposed_linear(g.input_normed, g.k, w.k, p.k, true);
    transposed_linear(g.input_normed, g.v, w.v, p.v, true);
    backward_norm(g.input, g.middle, g.input_normed, a.input, a.input_rstd, p.input_norm);
  }

 private:
  TensorView at(const Parameter& p) const { return weights_ + p.offset; }
  // Queries, keys and values of the attention.
  void project(const LayerParameters& p, const LayerActivations& a, TensorRef kv, int64_t window) const {
    k_.rmsnorm_forward(pool_, a.input_normed, a.input_rstd, a.input, at(p.input_norm), T_, s_.hidden, s_.rms_norm_eps);
    const TensorRef q = s_.qk_norm ? a.q_raw : a.q, k = s_.qk_norm ? a.k_raw : a.k;
    linear(q, a.input_normed, p.q);
    linear(k, a.input_normed, p.k);
    linear(a.v, a.input_normed, p.v);
    if (s_.qkv_bias) {
      k_.bias_forward(pool_, q, at(p.q_bias), T_, s_.query_dim());
      k_.bias_forward(pool_, k, at(p.k_bias), T_, s_.key_dim());
      k_.bias_forward(pool_, a.v, at(p.v_bias), T_, s_.key_dim());
    }
    if (s_.qk_norm) {
      k_.rmsnorm_forward(pool_, a.q, a.q_rstd, q, at(p.q_norm), T_ * s_.heads, s_.head_dim, s_.rms_norm_eps);
      k_.rmsnorm_forward(pool_, a.k, a.k_rstd, k, at(p.k_norm), T_ * s_.kv_heads, s_.head_dim, s_.rms_norm_eps);
    }
    rotate(a.q, s_.heads, 1.0f);
    rotate(a.k, s_.kv_heads, 1.0f);
    k_.kv_write(pool_, kv, a.k, a.v, attention_args(window));
  }
  void leave_attention(const LayerParameters& p, const LayerActivations& a) const {
    linear(a.middle, a.attention, p.o);
    k_.add(pool_, a.middle, a.input, T_ * s_.hidden);
  }
  void gate_mlp(const LayerParameters& p, const LayerActivations& a) const {
    k_.rmsnorm_forward(pool_, a.middle_normed, a.middle_rstd, a.middle, at(p.post_norm), T_, s_.hidden, s_.rms_norm_eps);
    linear(a.gate, a.middle_normed, p.gate);
    linear(a.up, a.middle_normed, p.up);
    k_.swiglu_forward(pool_, a.mlp, a.gate, a.up, T_, s_.intermediate);
  }
  void linear(TensorRef y, TensorView x, const Parameter& p) const {
    k_.linear_forward(pool_, y, p.rows, x, p.columns, at(p), T_, p.rows, p.columns, false);
  }
  // dx (+)= dy W.
  void transposed_linear(float* dx, TensorView dy, TensorView transposed, const Parameter& p, bool accumulate) const {
    k_.linear_forward(pool_, dx, p.columns, dy, p.rows, transposed, T_, p.columns, p.rows, accumulate);
  }
  void backward_norm(float* dx, const float* residual, const float* dy, const float* x, const float* rstd,
                     const Parameter& p) const {
    k_.rmsnorm_backward_input(pool_, dx, residual, dy, x, at(p), rstd, T_, s_.hidden);
  }
  void backward_head_norm(float* dx, const float* dy, TensorView x, const float* rstd, const Parameter& p,
                          int64_t heads) const {
    std::fill_n(dx, T_ * heads * s_.head_dim, 0.0f);
    k_.rmsnorm_backward_input(pool_, dx, dx, dy, x, at(p), rstd, T_ * heads, s_.head_dim);
  }
  AttentionArgs attention_args(int64_t window) const {
    return {s_.kv(),       s_.heads,
            window,        static_cast<float>(1.0 / std::sqrt(static_cast<double>(s_.head_dim))),
            spans_.data(), static_cast<int64_t>(spans_.size())};
  }
  void rotate(TensorRef x, int64_t heads, float sign) const {
    k_.rope(pool_, x, positions_, m_.cos_.data(), m_.sin_.data(), T_, heads, s_.head_dim, sign);
  }

  const Transformer& m_;
  const Kernels& k_;
  const ModelSpec& s_;
  ThreadPool& pool_;
  TensorView weights_;
  const int32_t *ids_, *positions_;
  int64_t T_;
  const std::vector<Span>& spans_;
};

// Blocks of whole sequences for a task each: then a block stays in its thread's cache from one kernel to the next. One block
// where there would be fewer than threads, and for large weights, which are not read once for every block.
std::vector<RowBlock> Transformer::cut(const Rows& rows) const {
  if (is_small()) {
    const int64_t threads = pool_.threads(), share = ceil_div(rows.count(), kBlocksPerThread * threads);
    auto blocks = cut_rows(rows, share < kSplitRows ? threads : ceil_div(rows.count(), std::min(share, kMaxBlockRows)));
    if (static_cast<int64_t>(blocks.size()) >= threads) return blocks;
  }
  return {{0, rows.count(), rows.spans}};
}

// Calls body(pass, first row) for every block; the threads are inside the kernels where there is only one. `others` are tasks
// that have nothing to do with these rows: they fill the gaps that blocks of unequal length leave.
void Transformer::for_blocks(TensorView weights, const Rows& rows, const std::vector<RowBlock>& blocks,
                             const std::vector<Task>& others, const BlockBody& body) const {
  const bool whole = blocks.size() == 1;
  if (whole) body(Pass(*this, pool_, weights, rows, blocks[0]), 0);
  const int64_t count = whole ? 0 : static_cast<int64_t>(blocks.size());
  parallel_for(pool_, count + static_cast<int64_t>(others.size()), [&](int64_t i) {
    if (i >= count) return others[static_cast<size_t>(i - count)]();
    const RowBlock& block = blocks[static_cast<size_t>(i)];
    body(Pass(*this, serial_, weights, rows, block), block.first);
  });
}

void Transformer::forward(TensorView weights, const Rows& rows, const Activations& activations, const KvBlocks& kv) const {
  plan_angles(rows);
  for_blocks(weights, rows, cut(rows), {}, [&](const Pass& pass, int64_t first) {
    pass.embed(activations.layer(0, first).input);
    for (int64_t i = 0; i < spec_.layers; ++i) {
      const LayerActivations a = activations.layer(i, first);
      pass.forward_attention(parameters_.layer(i), a, kv.layer(i), window(i));
      pass.forward_mlp(parameters_.layer(i), a);
    }
    pass.finish(activations.final(first));
  });
}

void Transformer::backward(TensorView weights, float* gradients, float* embedding_gradient, const Rows& rows,
                           const Activations& activations, GradientWorkspace& ws) const {
  const int64_t T = rows.count(), H = spec_.hidden, top = spec_.layers - 1;
  const std::vector<RowBlock> blocks = cut(rows);
  for_blocks(weights, rows, blocks, {}, [&](const Pass& pass, int64_t first) {
    pass.backward_finish(ws.layer(top, first).output, ws.normed() + first * H, activations.final(first));
  });
  kernels_.rmsnorm_backward_weight(pool_, gradients + parameters_.norm().offset, ws.normed(), activations.final(0).output,
                                   activations.final(0).rstd, T, H);
  std::vector<Task> above;  // the weight gradients of the layer above
  for (int64_t i = top; i >= 0; --i) {
    const Transposed transposed = transpose_layer(weights, i, ws.transposed());
    for_blocks(weights, rows, blocks, above, [&](const Pass& pass, int64_t first) {
      const LayerActivations a = activations.layer(i, first);
      const LayerGradients g = ws.layer(i, first);
      if (activations.recomputed() && i < top) pass.recompute(parameters_.layer(i), a, activations.kv().layer(i), window(i));
      pass.backward_mlp(parameters_.layer(i), transposed, a, g);
      pass.backward_attention(parameters_.layer(i), transposed, a, g, activations.kv().layer(i), window(i));
    });
    above = weight_gradients(gradients, i, T, activations.layer(i, 0), ws.layer(i, 0));
  }
  parallel_for(pool_, static_cast<int64_t>(above.size()), [&](int64_t i) { above[static_cast<size_t>(i)](); });
  kernels_.embedding_backward(pool_, embedding_gradient, ws.layer(0, 0).input, rows.ids.data(), T, H);
}

Transformer::Transposed Transformer::transpose_layer(TensorView weights, int64_t index, TensorRef memory) const {
  const LayerParameters& p = parameters_.layer(index);
  const auto next = [&](const Parameter& from) {
    const TensorRef to = memory;
    kernels_.weight_transpose(pool_, to, weights + from.offset, 0, from.rows, from.columns);
    memory += panel_elements(from.columns, from.rows, spec_.dtype);
    return TensorView(to);
  };
  return {next(p.q), next(p.k), next(p.v), next(p.o), next(p.gate), next(p.up), next(p.down)};
}

// The sums over rows, in row order, of a layer whose rows are all there: tasks of some panels of one weight each.
std::vector<Transformer::Task> Transformer::weight_gradients(float* gradients, int64_t index, int64_t T,
                                                             const LayerActivations& a, const LayerGradients& g) const {
  const LayerParameters& p = parameters_.layer(index);
  std::vector<Task> tasks;
  add_weight_gradient(tasks, gradients, p.down, g.output, a.mlp, T);
  add_weight_gradient(tasks, gradients, p.gate, a.gate, a.middle_normed, T);
  add_weight_gradient(tasks, gradients, p.up, a.up, a.middle_normed, T);
  add_weight_gradient(tasks, gradients, p.o, g.middle, a.attention, T);
  add_weight_gradient(tasks, gradients, p.q, g.q, a.input_normed, T);
  add_weight_gradient(tasks, gradients, p.k, g.k, a.input_normed, T);
  add_weight_gradient(tasks, gradients, p.v, g.v, a.input_normed, T);
  if (spec_.qkv_bias)
    tasks.push_back([=, this, &p] {
      kernels_.bias_backward(serial_, gradients + p.q_bias.offset, g.q, T, spec_.query_dim());
      kernels_.bias_backward(serial_, gradients + p.k_bias.offset, g.k, T, spec_.key_dim());
      kernels_.bias_backward(serial_, gradients + p.v_bias.offset, g.v, T, spec_.key_dim());
    });
  if (spec_.qk_norm)
    tasks.push_back([=, this, &p] {
      kernels_.rmsnorm_backward_weight(serial_, gradients + p.q_norm.offset, g.q_normed, a.q_raw, a.q_rstd, T * spec_.heads,
                                       spec_.head_dim);
      kernels_.rmsnorm_backward_weight(serial_, gradients + p.k_norm.offset, g.k_normed, a.k_raw, a.k_rstd, T * spec_.kv_heads,
                                       spec_.head_dim);
    });
  tasks.push_back([=, this, &p] {
    kernels_.rmsnorm_backward_weight(serial_, gradients + p.post_norm.offset, g.middle_normed, a.middle, a.middle_rstd, T,
                                     spec_.hidden);
    kernels_.rmsnorm_backward_weight(serial_, gradients + p.input_norm.offset, g.input_normed, a.input, a.input_rstd, T,
                                     spec_.hidden);
  });
  return tasks;
}

void Transformer::add_weight_gradient(std::vector<Task>& tasks, float* gradients, const Parameter& p, TensorView dy,
                                      TensorView x, int64_t T) const {
  const int64_t share = ceil_div(ceil_div(p.rows, kPanel), kWeightTasksPerThread * pool_.threads()) * kPanel;
  for (int64_t n = 0; n < p.rows; n += share)
    tasks.push_back([=, this, &p] {
      kernels_.linear_backward_weight(serial_, gradients + p.offset + n * p.depth, dy + n, p.rows, x, p.columns, T,
                                      std::min(share, p.rows - n), p.columns);
    });
}

}  // namespace zazen

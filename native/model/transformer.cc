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

bool Transformer::is_small(const ModelSpec& spec, const ParameterList& parameters) {
  return parameters.elements() <= kSmallWeights / dtype_bytes(spec.dtype);
}

int64_t Transformer::useful_rows(const ModelSpec& spec, const ParameterList& parameters, int64_t threads) {
  return is_small(spec, parameters) ? kRowsPerThread * threads : std::numeric_limits<int64_t>::max();
}

int64_t Transformer::useful_samples(const ModelSpec& spec, const ParameterList& parameters, int64_t threads, int64_t bytes) {
  if (!is_small(spec, parameters)) return std::numeric_limits<int64_t>::max();
  return std::max(kSamplesPerThread, kNearBytes / bytes) * threads;
}

void Transformer::plan_angles(const Rows& rows) const {
  int64_t positions = 0;
  for (const Span& span : rows.spans) positions = std::max(positions, span.position + span.count);
  if (positions > angles_) make_angles(std::min(spec_.max_positions, std::max(positions, 2 * angles_)));
}

void Transformer::reserve(int64_t positions) const {
  if (positions > angles_) make_angles(std::min(spec_.max_positions, positions));
}

void Transformer::make_angles(int64_t wanted) const {
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
    linear(a.output, a.mlp, p.down, a);
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
    transposed_linear(g.mlp, g.output, w.down, p.down, g, false);
    k_.swiglu_backward(pool_, a.gate, a.up, g.mlp, T_, s_.intermediate);
    transposed_linear(g.middle_normed, a.gate, w.gate, p.gate, g, false);
    transposed_linear(g.middle_normed, a.up, w.up, p.up, g, true);
    backward_norm(g.middle, g.output, g.middle_normed, a.middle, a.middle_rstd, p.post_norm);
  }

  // From the gradient of middle to that of input.
  void backward_attention(const LayerParameters& p, const Transposed& w, const LayerActivations& a, const LayerGradients& g,
                          TensorView kv, int64_t window) const {
    transposed_linear(g.attention, g.middle, w.o, p.o, g, false);
    k_.attention_backward(pool_, g.q_normed, g.k_normed, g.v, g.attention, a.attention, a.lse, a.q, kv, attention_args(window));
    rotate(g.q_normed, s_.heads, -1.0f);
    rotate(g.k_normed, s_.kv_heads, -1.0f);
    if (s_.qk_norm) {
      backward_head_norm(g.q, g.q_normed, a.q_raw, a.q_rstd, p.q_norm, s_.heads);
      backward_head_norm(g.k, g.k_normed, a.k_raw, a.k_rstd, p.k_norm, s_.kv_heads);
    }
    transposed_linear(g.input_normed, g.q, w.q, p.q, g, false);
    transposed_linear(g.input_normed, g.k, w.k, p.k, g, true);
    transposed_linear(g.input_normed, g.v, w.v, p.v, g, true);
    backward_norm(g.input, g.middle, g.input_normed, a.input, a.input_rstd, p.input_norm);
  }

 private:
  TensorView at(const Parameter& p) const { return weights_ + p.offset; }
  // Queries, keys and values of the attention.
  void project(const LayerParameters& p, const LayerActivations& a, TensorRef kv, int64_t window) const {
    k_.rmsnorm_forward(pool_, a.input_normed, a.input_rstd, a.input, at(p.input_norm), T_, s_.hidden, s_.rms_norm_eps);
    const TensorRef q = s_.qk_norm ? a.q_raw : a.q, k = s_.qk_norm ? a.k_raw : a.k;
    linear(q, a.input_normed, p.q, a);
    linear(k, a.input_normed, p.k, a);
    linear(a.v, a.input_normed, p.v, a);
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
    linear(a.middle, a.attention, p.o, a);
    k_.add(pool_, a.middle, a.input, T_ * s_.hidden);
  }
  void gate_mlp(const LayerParameters& p, const LayerActivations& a) const {
    k_.rmsnorm_forward(pool_, a.middle_normed, a.middle_rstd, a.middle, at(p.post_norm), T_, s_.hidden, s_.rms_norm_eps);
    linear(a.gate, a.middle_normed, p.gate, a);
    linear(a.up, a.middle_normed, p.up, a);
    k_.swiglu_forward(pool_, a.mlp, a.gate, a.up, T_, s_.intermediate);
  }
  // y = W x, with an adapter y = W x + scale * B (A x): its chain continues the base's sums in f32, which are rounded once.
  void linear(TensorRef y, TensorView x, const LinearParameters& p, const LayerActivations& a) const {
    const TensorRef sums = p.is_adapted() && y.type != DType::f32 ? TensorRef(a.lora_sums) : y;
    k_.linear_forward(pool_, sums, p.rows, x, p.columns, at(p), T_, p.rows, p.columns, false);
    if (!p.is_adapted()) return;
    const int64_t rank = p.a.rows;
    const TensorRef low = a.lora[p.index];
    k_.linear_forward(pool_, a.lora_low, rank, x, p.columns, at(p.a), T_, rank, p.columns, false);
    k_.scale(pool_, low, a.lora_low, s_.lora.scale, T_ * rank);
    k_.linear_forward(pool_, sums, p.rows, low, rank, at(p.b), T_, p.rows, rank, true);
    if (y.type != DType::f32) k_.scale(pool_, y, a.lora_sums, 1.0f, T_ * p.rows);
  }
  // dx (+)= dy W, with an adapter dx (+)= dy W + (scale * dy B) A.
  void transposed_linear(float* dx, TensorView dy, const TransposedLinear& transposed, const LinearParameters& p,
                         const LayerGradients& g, bool accumulate) const {
    k_.linear_forward(pool_, dx, p.columns, dy, p.rows, transposed.w, T_, p.columns, p.rows, accumulate);
    if (!p.is_adapted()) return;
    const int64_t rank = p.a.rows;
    float* dlow = g.lora[p.index];
    k_.linear_forward(pool_, dlow, rank, dy, p.rows, transposed.b, T_, rank, p.rows, false);
    k_.scale(pool_, dlow, dlow, s_.lora.scale, T_ * rank);
    k_.linear_forward(pool_, dx, p.columns, dlow, rank, transposed.a, T_, p.columns, rank, true);
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
  if (is_small(spec_, parameters_)) {
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

bool Transformer::forward(TensorView weights, const Rows& rows, const Activations& activations, const KvBlocks& kv,
                          const std::atomic<bool>* stop) const {
  const auto stopped = [stop] { return stop && stop->load(std::memory_order_relaxed); };
  plan_angles(rows);
  for_blocks(weights, rows, cut(rows), {}, [&](const Pass& pass, int64_t first) {
    pass.embed(activations.layer(0, first).input);
    for (int64_t i = 0; i < spec_.layers; ++i) {
      const LayerActivations a = activations.layer(i, first);
      if (stopped()) return;
      pass.forward_attention(parameters_.layer(i), a, kv.layer(i), window(i));
      if (stopped()) return;
      pass.forward_mlp(parameters_.layer(i), a);
    }
    pass.finish(activations.final(first));
  });
  return !stopped();
}

void Transformer::backward(TensorView weights, float* gradients, float* embedding_gradient, const Rows& rows,
                           const Activations& activations, GradientWorkspace& ws) const {
  const int64_t T = rows.count(), H = spec_.hidden, top = spec_.layers - 1;
  const std::vector<RowBlock> blocks = cut(rows);
  for_blocks(weights, rows, blocks, {}, [&](const Pass& pass, int64_t first) {
    pass.backward_finish(ws.layer(top, first).output, ws.normed() + first * H, activations.final(first));
  });
  const Parameter& norm = parameters_.norm();
  if (norm.is_trained())
    kernels_.rmsnorm_backward_weight(pool_, gradients + norm.gradient, ws.normed(), activations.final(0).output,
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
  if (parameters_.embedding().is_trained())
    kernels_.embedding_backward(pool_, embedding_gradient, ws.layer(0, 0).input, rows.ids.data(), T, H);
}

Transformer::Transposed Transformer::transpose_layer(TensorView weights, int64_t index, TensorRef memory) const {
  const LayerParameters& p = parameters_.layer(index);
  const auto transpose = [&](const Parameter& from) {
    const TensorRef to = memory;
    kernels_.weight_transpose(pool_, to, weights + from.offset, 0, from.rows, from.columns);
    memory += panel_elements(from.columns, from.rows, spec_.dtype);
    return TensorView(to);
  };
  const auto next = [&](const LinearParameters& from) {
    const TensorView w = transpose(from);
    if (!from.is_adapted()) return TransposedLinear{w, {}, {}};
    const TensorView a = transpose(from.a);
    return TransposedLinear{w, a, transpose(from.b)};
  };
  return {next(p.q), next(p.k), next(p.v), next(p.o), next(p.gate), next(p.up), next(p.down)};
}

// The sums over rows, in row order, of a layer whose rows are all there: tasks of some panels of one weight each.
std::vector<Transformer::Task> Transformer::weight_gradients(float* gradients, int64_t index, int64_t T,
                                                             const LayerActivations& a, const LayerGradients& g) const {
  const LayerParameters& p = parameters_.layer(index);
  std::vector<Task> tasks;
  add_linear_gradients(tasks, gradients, p.down, g.output, a.mlp, a, g, T);
  add_linear_gradients(tasks, gradients, p.gate, a.gate, a.middle_normed, a, g, T);
  add_linear_gradients(tasks, gradients, p.up, a.up, a.middle_normed, a, g, T);
  add_linear_gradients(tasks, gradients, p.o, g.middle, a.attention, a, g, T);
  add_linear_gradients(tasks, gradients, p.q, g.q, a.input_normed, a, g, T);
  add_linear_gradients(tasks, gradients, p.k, g.k, a.input_normed, a, g, T);
  add_linear_gradients(tasks, gradients, p.v, g.v, a.input_normed, a, g, T);
  const auto add_bias = [&](const Parameter& b, const float* dy) {
    if (b.is_trained())
      tasks.push_back([=, this, &b] { kernels_.bias_backward(serial_, gradients + b.gradient, dy, T, b.rows); });
  };
  const auto add_norm = [&](const Parameter& w, const float* dy, TensorView x, const float* rstd, int64_t rows) {
    if (w.is_trained())
      tasks.push_back(
          [=, this, &w] { kernels_.rmsnorm_backward_weight(serial_, gradients + w.gradient, dy, x, rstd, rows, w.rows); });
  };
  if (spec_.qkv_bias) {
    add_bias(p.q_bias, g.q);
    add_bias(p.k_bias, g.k);
    add_bias(p.v_bias, g.v);
  }
  if (spec_.qk_norm) {
    add_norm(p.q_norm, g.q_normed, a.q_raw, a.q_rstd, T * spec_.heads);
    add_norm(p.k_norm, g.k_normed, a.k_raw, a.k_rstd, T * spec_.kv_heads);
  }
  add_norm(p.post_norm, g.middle_normed, a.middle, a.middle_rstd, T);
  add_norm(p.input_norm, g.input_normed, a.input, a.input_rstd, T);
  return tasks;
}

// Of the weight, or of its adapter: dB = dy^T (scale * A x), dA = (scale * dy B)^T x.
void Transformer::add_linear_gradients(std::vector<Task>& tasks, float* gradients, const LinearParameters& p, TensorView dy,
                                       TensorView x, const LayerActivations& a, const LayerGradients& g, int64_t T) const {
  if (p.is_trained()) add_weight_gradient(tasks, gradients, p, dy, x, T);
  if (!p.is_adapted()) return;
  add_weight_gradient(tasks, gradients, p.b, dy, a.lora[p.index], T);
  add_weight_gradient(tasks, gradients, p.a, g.lora[p.index], x, T);
}

void Transformer::add_weight_gradient(std::vector<Task>& tasks, float* gradients, const Parameter& p, TensorView dy,
                                      TensorView x, int64_t T) const {
  const int64_t share = ceil_div(ceil_div(p.rows, kPanel), kWeightTasksPerThread * pool_.threads()) * kPanel;
  for (int64_t n = 0; n < p.rows; n += share)
    tasks.push_back([=, this, &p] {
      kernels_.linear_backward_weight(serial_, gradients + p.gradient + n * p.depth, dy + n, p.rows, x, p.columns, T,
                                      std::min(share, p.rows - n), p.columns);
    });
}

}  // namespace zazen

#include "model/transformer.h"

#include <algorithm>
#include <cmath>

namespace zazen {
namespace {

constexpr int64_t kAlign = 16;  // elements

// Lays consecutive arrays into one block: first pass counts, second pass hands out.
struct Layouter {
  float* base;
  int64_t used = 0;
  float* take(int64_t elements) {
    float* at = base ? base + used : nullptr;
    used += ceil_div(elements, kAlign) * kAlign;
    return at;
  }
};

}  // namespace

void Activations::plan(const ModelSpec& s, int64_t T, int64_t kv_blocks, bool training) {
  const int64_t copies = training ? s.layers : 1;
  layers_.resize(static_cast<size_t>(copies));
  const auto lay = [&](Layouter out) {
    for (auto& a : layers_) {
      a.input = out.take(T * s.hidden);
      a.input_rstd = out.take(T);
      a.input_normed = out.take(T * s.hidden);
      a.q = out.take(T * s.query_dim());
      a.attention = out.take(T * s.query_dim());
      a.lse = out.take(T * s.heads);
      a.middle = out.take(T * s.hidden);
      a.middle_rstd = out.take(T);
      a.middle_normed = out.take(T * s.hidden);
      a.gate = out.take(T * s.intermediate);
      a.up = out.take(T * s.intermediate);
      a.mlp = out.take(T * s.intermediate);
      a.kv = out.take(kv_blocks * s.kv().block_elements());
    }
    output_ = out.take(T * s.hidden);
    output_rstd_ = out.take(T);
    normed_ = out.take(T * s.hidden);
    k_ = out.take(T * s.key_dim());
    v_ = out.take(T * s.key_dim());
    return out.used;
  };
  memory_.reserve(static_cast<size_t>(lay({nullptr})));
  lay({memory_.data()});
}

LayerActivations Activations::layer(int64_t index) const {
  return layers_[layers_.size() > 1 ? static_cast<size_t>(index) : 0];
}

Transformer::Transformer(const ModelSpec& spec, const ParameterList& parameters, const Kernels& kernels, ThreadPool& pool)
    : spec_(spec), parameters_(parameters), kernels_(kernels), pool_(pool) {}

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
    // Single-precision angles, as transformers computes them.
    const double exponent = 2.0 * static_cast<double>(d) / static_cast<double>(spec_.head_dim);
    const float frequency = static_cast<float>(1.0 / std::pow(spec_.rope_theta, exponent));
    for (int64_t position = 0; position < wanted; ++position) {
      const double angle = static_cast<double>(static_cast<float>(position) * frequency);
      cos_[static_cast<size_t>(position * half + d)] = static_cast<float>(std::cos(angle));
      sin_[static_cast<size_t>(position * half + d)] = static_cast<float>(std::sin(angle));
    }
  }
  angles_ = wanted;
}

AttentionArgs Transformer::attention_args(const Rows& rows) const {
  const float scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(spec_.head_dim)));
  return {spec_.kv(), spec_.heads, scale, rows.spans.data(), static_cast<int64_t>(rows.spans.size())};
}

void Transformer::linear(float* y, const float* x, const float* weights, const Parameter& p, int64_t T) const {
  kernels_.linear_forward(pool_, y, p.rows, x, p.columns, weights + p.offset, T, p.rows, p.columns);
}

void Transformer::linear_backward(float* dx, bool accumulate, float* gradients, const float* dy, const float* x,
                                  const float* weights, const Parameter& p, int64_t T, float* scratch) const {
  kernels_.linear_backward_weight(pool_, gradients + p.offset, dy, p.rows, x, p.columns, T, p.rows, p.columns);
  kernels_.linear_backward_input(pool_, dx, p.columns, dy, p.rows, weights + p.offset, T, p.rows, p.columns, accumulate,
                                 scratch);
}

void Transformer::embed(const float* weights, const Rows& rows, Activations& activations) const {
  plan_angles(rows);
  const Parameter& table = parameters_.embedding();
  const EmbeddingTable view{const_cast<float*>(weights) + table.offset, table.layout == Layout::panels, spec_.vocab,
                            spec_.hidden};
  kernels_.embedding_forward(pool_, activations.layer(0).input, view, rows.ids.data(), rows.count());
}

void Transformer::forward_layer(const float* weights, int64_t index, const Rows& rows, Activations& activations,
                                float* kv) const {
  const LayerParameters& p = parameters_.layer(index);
  const LayerActivations a = activations.layer(index);
  const int64_t T = rows.count(), H = spec_.hidden, D = spec_.head_dim;
  const AttentionArgs attention = attention_args(rows);
  kernels_.rmsnorm_forward(pool_, a.input_normed, a.input_rstd, a.input, weights + p.input_norm.offset, T, H,
                           spec_.rms_norm_eps);
  linear(a.q, a.input_normed, weights, p.q, T);
  linear(activations.k(), a.input_normed, weights, p.k, T);
  linear(activations.v(), a.input_normed, weights, p.v, T);
  kernels_.rope(pool_, a.q, rows.positions.data(), cos_.data(), sin_.data(), T, spec_.heads, D, 1.0f);
  kernels_.rope(pool_, activations.k(), rows.positions.data(), cos_.data(), sin_.data(), T, spec_.kv_heads, D, 1.0f);
  kernels_.kv_write(pool_, kv, activations.k(), activations.v(), attention);
  kernels_.attention_forward(pool_, a.attention, a.lse, a.q, kv, attention);
  linear(a.middle, a.attention, weights, p.o, T);
  kernels_.add(pool_, a.middle, a.input, T * H);

  kernels_.rmsnorm_forward(pool_, a.middle_normed, a.middle_rstd, a.middle, weights + p.post_norm.offset, T, H,
                           spec_.rms_norm_eps);
  linear(a.gate, a.middle_normed, weights, p.gate, T);
  linear(a.up, a.middle_normed, weights, p.up, T);
  kernels_.swiglu_forward(pool_, a.mlp, a.gate, a.up, T, spec_.intermediate);
  float* output = index + 1 < spec_.layers ? activations.layer(index + 1).input : activations.output();
  linear(output, a.mlp, weights, p.down, T);
  kernels_.add(pool_, output, a.middle, T * H);
}

void Transformer::finish(const float* weights, const Rows& rows, Activations& activations) const {
  kernels_.rmsnorm_forward(pool_, activations.normed(), activations.output_rstd(), activations.output(),
                           weights + parameters_.norm().offset, rows.count(), spec_.hidden, spec_.rms_norm_eps);
}

void Transformer::plan(GradientWorkspace& ws, int64_t T) const {
  const auto size = [T](int64_t width) { return static_cast<size_t>(T * width); };
  ws.dx.reserve(size(spec_.hidden));
  ws.dnormed.reserve(size(spec_.hidden));
  ws.dq.reserve(size(spec_.query_dim()));
  ws.dattention.reserve(size(spec_.query_dim()));
  ws.dk.reserve(size(spec_.key_dim()));
  ws.dv.reserve(size(spec_.key_dim()));
  ws.dmlp.reserve(size(spec_.intermediate));
  int64_t scratch = 0;
  for (const auto& p : parameters_.all())
    if (p.layout == Layout::panels) scratch = std::max(scratch, kernels_.linear_scratch(p.rows, p.columns));
  ws.scratch.reserve(static_cast<size_t>(scratch));
}

void Transformer::backward(const float* weights, float* gradients, float* embedding_gradient, const Rows& rows,
                           Activations& activations, GradientWorkspace& ws) const {
  const int64_t T = rows.count(), H = spec_.hidden;
  std::fill_n(ws.dx.data(), T * H, 0.0f);
  kernels_.rmsnorm_backward(pool_, ws.dx.data(), gradients + parameters_.norm().offset, ws.dnormed.data(), activations.output(),
                            weights + parameters_.norm().offset, activations.output_rstd(), T, H);
  for (int64_t i = spec_.layers - 1; i >= 0; --i) {
    const LayerActivations a = activations.layer(i);
    backward_mlp(weights, gradients, i, T, a, ws);
    backward_attention(weights, gradients, i, rows, a, ws);
  }
  kernels_.embedding_backward(pool_, embedding_gradient, ws.dx.data(), rows.ids.data(), T, H);
}

// output = middle + down(silu(gate(n)) * up(n)), n = rmsnorm(middle). On entry dx is d output, on return d middle.
void Transformer::backward_mlp(const float* weights, float* gradients, int64_t index, int64_t T, const LayerActivations& a,
                               GradientWorkspace& ws) const {
  const LayerParameters& p = parameters_.layer(index);
  float* scratch = ws.scratch.data();
  linear_backward(ws.dmlp.data(), false, gradients, ws.dx.data(), a.mlp, weights, p.down, T, scratch);
  kernels_.swiglu_backward(pool_, a.gate, a.up, ws.dmlp.data(), T, spec_.intermediate);
  linear_backward(ws.dnormed.data(), false, gradients, a.gate, a.middle_normed, weights, p.gate, T, scratch);
  linear_backward(ws.dnormed.data(), true, gradients, a.up, a.middle_normed, weights, p.up, T, scratch);
  kernels_.rmsnorm_backward(pool_, ws.dx.data(), gradients + p.post_norm.offset, ws.dnormed.data(), a.middle,
                            weights + p.post_norm.offset, a.middle_rstd, T, spec_.hidden);
}

// middle = input + o(attention(rope(q(n)), rope(k(n)), v(n))), n = rmsnorm(input). On entry dx is d middle, on return d input.
void Transformer::backward_attention(const float* weights, float* gradients, int64_t index, const Rows& rows,
                                     const LayerActivations& a, GradientWorkspace& ws) const {
  const LayerParameters& p = parameters_.layer(index);
  const int64_t T = rows.count(), D = spec_.head_dim;
  float* scratch = ws.scratch.data();
  linear_backward(ws.dattention.data(), false, gradients, ws.dx.data(), a.attention, weights, p.o, T, scratch);
  kernels_.attention_backward(pool_, ws.dq.data(), ws.dk.data(), ws.dv.data(), ws.dattention.data(), a.attention, a.lse, a.q,
                              a.kv, attention_args(rows));
  kernels_.rope(pool_, ws.dq.data(), rows.positions.data(), cos_.data(), sin_.data(), T, spec_.heads, D, -1.0f);
  kernels_.rope(pool_, ws.dk.data(), rows.positions.data(), cos_.data(), sin_.data(), T, spec_.kv_heads, D, -1.0f);
  linear_backward(ws.dnormed.data(), false, gradients, ws.dq.data(), a.input_normed, weights, p.q, T, scratch);
  linear_backward(ws.dnormed.data(), true, gradients, ws.dk.data(), a.input_normed, weights, p.k, T, scratch);
  linear_backward(ws.dnormed.data(), true, gradients, ws.dv.data(), a.input_normed, weights, p.v, T, scratch);
  kernels_.rmsnorm_backward(pool_, ws.dx.data(), gradients + p.input_norm.offset, ws.dnormed.data(), a.input,
                            weights + p.input_norm.offset, a.input_rstd, T, spec_.hidden);
}

}  // namespace zazen

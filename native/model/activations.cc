#include "model/activations.h"

#include <algorithm>

namespace zazen {
namespace {

constexpr int64_t kAlign = 64;  // bytes

// Lays consecutive arrays into one block: first pass counts, second pass hands out.
struct Layouter {
  std::byte* base;
  DType type;        // of arrays in the model's type
  int64_t used = 0;  // bytes
  TensorRef take(int64_t elements, DType of) {
    std::byte* at = base ? base + used : nullptr;
    used = checked_sum(used, ceil_div(checked_product(elements, dtype_bytes(of)), kAlign) * kAlign);
    return {at, of};
  }
  TensorRef take(int64_t elements) { return take(elements, type); }
  float* floats(int64_t elements) { return take(elements, DType::f32).as<float>(); }
};

// Calls lay(Layouter&) twice, with memory for what it takes the second time.
template <class Lay>
void lay_out_in(Buffer<std::byte>& memory, DType type, const Lay& lay) {
  Layouter count{nullptr, type};
  lay(count);
  memory.reserve(static_cast<size_t>(count.used));
  Layouter place{memory.data(), type};
  lay(place);
}

// Elements of the transposed weights of a layer.
int64_t transposed_elements(const ModelSpec& s) {
  const auto panels = [&](int64_t n, int64_t k) { return panel_elements(n, k, s.dtype); };
  // An adapter's are [K, rank] and [rank, N].
  const auto linear = [&](int64_t n, int64_t k) {
    return panels(k, n) + (s.lora.rank > 0 ? panels(k, s.lora.rank) + panels(s.lora.rank, n) : 0);
  };
  return linear(s.query_dim(), s.hidden) + 2 * linear(s.key_dim(), s.hidden) + linear(s.hidden, s.query_dim()) +
         2 * linear(s.intermediate, s.hidden) + linear(s.hidden, s.intermediate);
}

// Of the linear layers whose outputs are of the model's type.
int64_t widest_output(const ModelSpec& s) { return std::max({s.query_dim(), s.key_dim(), s.intermediate}); }

}  // namespace

void Activations::shape(const ModelSpec& s, bool training, bool recompute) {
  spec_ = s;
  training_ = training;
  recomputed_ = training && recompute;
  layers_.resize(static_cast<size_t>(training ? s.layers : 1));
}

template <class Out>
void Activations::lay_out(Out& out, int64_t T, int64_t kv_blocks) {
  const ModelSpec& s = spec_;
  const bool own_kv = training_ && !recomputed_;
  const int64_t kv_elements = checked_product(kv_blocks, s.kv().block_elements());
  kv_.stride = own_kv ? kv_elements : 0;
  const TensorRef k = out.take(T * s.key_dim()), v = out.take(T * s.key_dim());
  const bool rounded = s.lora.rank > 0 && s.dtype != DType::f32;
  float *low = out.floats(T * s.lora.rank), *sums = out.floats(rounded ? T * widest_output(s) : 0);
  for (size_t i = 0; i < layers_.size(); ++i) {
    LayerActivations& a = layers_[i];
    const bool shares = recomputed_ && i >= 2;
    if (shares) a = layers_[i - 2];
    a.input = out.floats(T * s.hidden);
    a.attention = out.take(T * s.query_dim());
    a.lse = out.floats(T * s.heads);
    a.lora[kDown] = out.take(T * s.lora.rank);
    if (shares) continue;
    for (size_t l = 0; l < kDown; ++l) a.lora[l] = out.take(T * s.lora.rank);
    a.input_rstd = out.floats(T);
    a.input_normed = out.take(T * s.hidden);
    a.q = out.take(T * s.query_dim());
    if (s.qk_norm) {
      a.q_raw = out.take(T * s.query_dim());
      a.k_raw = out.take(T * s.key_dim());
      a.q_rstd = out.floats(T * s.heads);
      a.k_rstd = out.floats(T * s.kv_heads);
    }
    a.k = k;
    a.v = v;
    a.middle = out.floats(T * s.hidden);
    a.middle_rstd = out.floats(T);
    a.middle_normed = out.take(T * s.hidden);
    a.gate = out.take(T * s.intermediate);
    a.up = out.take(T * s.intermediate);
    a.mlp = out.take(T * s.intermediate);
    a.lora_low = low;
    a.lora_sums = sums;
  }
  final_ = {out.floats(T * s.hidden), out.floats(T), out.take(T * s.hidden)};
  kv_.data = out.take(checked_product(own_kv ? s.layers : 1, kv_elements));
}

void Activations::plan(const ModelSpec& s, int64_t T, int64_t kv_blocks, bool training, bool recompute) {
  shape(s, training, recompute);
  lay_out_in(memory_, s.dtype, [&](Layouter& out) { lay_out(out, T, kv_blocks); });
  for (size_t i = 0; i < layers_.size(); ++i) layers_[i].output = i + 1 < layers_.size() ? layers_[i + 1].input : final_.output;
}

int64_t Activations::bytes(const ModelSpec& s, int64_t T, int64_t kv_blocks, bool training, bool recompute) {
  Activations counted;
  counted.shape(s, training, recompute);
  Layouter count{nullptr, s.dtype};
  counted.lay_out(count, T, kv_blocks);
  return count.used;
}

LayerActivations Activations::layer(int64_t index, int64_t first) const {
  LayerActivations a = layers_[layers_.size() > 1 ? static_cast<size_t>(index) : 0];
  if (layers_.size() == 1 && index + 1 < spec_.layers) a.output = a.input;  // shared memory: the next layer's input
  for (float** rows : {&a.input, &a.middle, &a.output}) *rows += first * spec_.hidden;
  for (TensorRef* rows : {&a.input_normed, &a.middle_normed}) *rows += first * spec_.hidden;
  for (TensorRef* rows : {&a.q, &a.attention}) *rows += first * spec_.query_dim();
  for (TensorRef* rows : {&a.k, &a.v}) *rows += first * spec_.key_dim();
  for (TensorRef* rows : {&a.gate, &a.up, &a.mlp}) *rows += first * spec_.intermediate;
  for (float** rows : {&a.input_rstd, &a.middle_rstd}) *rows += first;
  if (spec_.qk_norm) {
    a.q_raw += first * spec_.query_dim();
    a.k_raw += first * spec_.key_dim();
    a.q_rstd += first * spec_.heads;
    a.k_rstd += first * spec_.kv_heads;
  }
  a.lse += first * spec_.heads;
  if (spec_.lora.rank > 0) {
    for (TensorRef& rows : a.lora) rows += first * spec_.lora.rank;
    a.lora_low += first * spec_.lora.rank;
    if (spec_.dtype != DType::f32) a.lora_sums += first * widest_output(spec_);
  }
  return a;
}

FinalActivations Activations::final(int64_t first) const {
  return {final_.output + first * spec_.hidden, final_.rstd + first, final_.normed + first * spec_.hidden};
}

template <class Out>
void GradientWorkspace::lay_out(Out& out, int64_t T) {
  const ModelSpec& s = spec_;
  for (float** rows : {&residual_[0], &residual_[1], &residual_[2], &normed_}) *rows = out.floats(T * s.hidden);
  float *mlp = out.floats(T * s.intermediate), *attention = out.floats(T * s.query_dim());
  for (LayerGradients& g : layers_) {
    for (float** rows : {&g.middle, &g.middle_normed, &g.input_normed}) *rows = out.floats(T * s.hidden);
    g.q = out.floats(T * s.query_dim());
    for (float** rows : {&g.k, &g.v}) *rows = out.floats(T * s.key_dim());
    g.q_normed = s.qk_norm ? out.floats(T * s.query_dim()) : g.q;
    g.k_normed = s.qk_norm ? out.floats(T * s.key_dim()) : g.k;
    g.mlp = mlp;
    g.attention = attention;
    for (float*& rows : g.lora) rows = out.floats(T * s.lora.rank);
  }
  // Of the head a piece of its weight, or of its adapter's B.
  const int64_t head = panel_elements(std::max(s.hidden, s.head_rank()), std::min(s.outputs(), kHeadRows), s.dtype);
  transposed_ = out.take(std::max(transposed_elements(s), head));
}

void GradientWorkspace::plan(const ModelSpec& s, int64_t T) {
  spec_ = s;
  lay_out_in(memory_, s.dtype, [&](Layouter& out) { lay_out(out, T); });
}

int64_t GradientWorkspace::bytes(const ModelSpec& s, int64_t T) {
  GradientWorkspace counted;
  counted.spec_ = s;
  Layouter count{nullptr, s.dtype};
  counted.lay_out(count, T);
  return count.used;
}

LayerGradients GradientWorkspace::layer(int64_t index, int64_t first) const {
  LayerGradients g = layers_[index % 2];
  g.output = residual_[(index + 1) % 3];
  g.input = residual_[index % 3];
  for (float** rows : {&g.output, &g.middle, &g.input, &g.middle_normed, &g.input_normed}) *rows += first * spec_.hidden;
  for (float** rows : {&g.attention, &g.q, &g.q_normed}) *rows += first * spec_.query_dim();
  for (float** rows : {&g.k, &g.v, &g.k_normed}) *rows += first * spec_.key_dim();
  g.mlp += first * spec_.intermediate;
  for (float*& rows : g.lora) rows += first * spec_.lora.rank;
  return g;
}

}  // namespace zazen

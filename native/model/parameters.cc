#include "model/parameters.h"

#include <cmath>

#include "core/rng.h"

namespace zazen {
namespace {

constexpr int64_t kAlign = 16;  // elements: every parameter starts on a cache line
constexpr double kTwoPi = 6.283185307179586;

// Box-Muller on the counter-based generator.
float normal(uint64_t seed, uint32_t parameter, int64_t element) {
  const Counter bits = philox(seed, {parameter, static_cast<uint32_t>(element), static_cast<uint32_t>(element >> 32), 0x1417u});
  const double radius = std::sqrt(-2.0 * std::log((bits[0] + 1.0) * 0x1p-32));
  return static_cast<float>(radius * std::cos(kTwoPi * (bits[1] * 0x1p-32)));
}

}  // namespace

ParameterList::ParameterList(const ModelSpec& s) : dtype_(s.dtype) {
  check_spec(s);
  embedding_ = append("model.embed_tokens.weight", s.vocab, s.hidden, s.tied ? Layout::panels : Layout::rows);
  for (int64_t i = 0; i < s.layers; ++i) {
    const std::string prefix = "model.layers." + std::to_string(i) + ".";
    const auto linear = [&](const char* name, int64_t rows, int64_t columns) {
      return append(prefix + name + ".weight", rows, columns, Layout::panels);
    };
    const auto norm = [&](const char* name, int64_t width) {
      return append(prefix + name + ".weight", width, 0, Layout::vector, 1.0f);
    };
    const auto bias = [&](const char* name, int64_t width) {
      return append(prefix + name + ".bias", width, 0, Layout::vector);
    };
    LayerParameters layer;
    layer.input_norm = norm("input_layernorm", s.hidden);
    layer.q = linear("self_attn.q_proj", s.query_dim(), s.hidden);
    layer.k = linear("self_attn.k_proj", s.key_dim(), s.hidden);
    layer.v = linear("self_attn.v_proj", s.key_dim(), s.hidden);
    layer.o = linear("self_attn.o_proj", s.hidden, s.query_dim());
    if (s.qkv_bias) {
      layer.q_bias = bias("self_attn.q_proj", s.query_dim());
      layer.k_bias = bias("self_attn.k_proj", s.key_dim());
      layer.v_bias = bias("self_attn.v_proj", s.key_dim());
    }
    if (s.qk_norm) {
      layer.q_norm = norm("self_attn.q_norm", s.head_dim);
      layer.k_norm = norm("self_attn.k_norm", s.head_dim);
    }
    layer.post_norm = norm("post_attention_layernorm", s.hidden);
    layer.gate = linear("mlp.gate_proj", s.intermediate, s.hidden);
    layer.up = linear("mlp.up_proj", s.intermediate, s.hidden);
    layer.down = linear("mlp.down_proj", s.hidden, s.intermediate);
    layers_.push_back(layer);
  }
  norm_ = append("model.norm.weight", s.hidden, 0, Layout::vector, 1.0f);
  head_ = s.tied ? embedding_ : append("lm_head.weight", s.vocab, s.hidden, Layout::panels);
}

Parameter ParameterList::append(const std::string& name, int64_t rows, int64_t columns, Layout layout, float initial) {
  const int64_t elements = layout == Layout::panels ? panel_elements(rows, columns, dtype_) : rows * (columns ? columns : 1);
  const Parameter parameter{name, rows, columns, layout, elements_, elements, initial, panel_depth(columns, dtype_)};
  elements_ += ceil_div(elements, kAlign) * kAlign;
  all_.push_back(parameter);
  return parameter;
}

int64_t ParameterList::count() const {
  int64_t total = 0;
  for (const auto& parameter : all_) total += parameter.count();
  return total;
}

void ParameterList::initialize(const WeightStore& store, uint64_t seed, float std) const {
  for (size_t p = 0; p < all_.size(); ++p)
    for (int64_t i = 0; i < all_[p].count(); ++i)
      store.set(all_[p], i, all_[p].is_matrix() ? std * normal(seed, static_cast<uint32_t>(p), i) : all_[p].initial);
}

}  // namespace zazen

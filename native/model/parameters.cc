#include "model/parameters.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>

#include "core/rng.h"

namespace zazen {
namespace {

constexpr int64_t kAlign = 16;  // elements: every parameter starts on a cache line
constexpr double kTwoPi = 6.283185307179586;

constexpr int64_t kFrozen = -1;

std::string module_of(const std::string& name) { return name.substr(0, name.rfind('.')); }

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

int64_t count_of(std::span<const Parameter> parameters) {
  int64_t total = 0;
  for (const auto& parameter : parameters) total += parameter.count();
  return total;
}

// Box-Muller on the counter-based generator.
float normal(uint64_t seed, uint32_t parameter, int64_t element) {
  const Counter bits = philox(seed, {parameter, static_cast<uint32_t>(element), static_cast<uint32_t>(element >> 32), 0x1417u});
  const double radius = std::sqrt(-2.0 * std::log((bits[0] + 1.0) * 0x1p-32));
  return static_cast<float>(radius * std::cos(kTwoPi * (bits[1] * 0x1p-32)));
}

// Uniform in [-1, 1).
float symmetric(uint64_t seed, uint32_t parameter, int64_t element) {
  const Counter bits = philox(seed, {parameter, static_cast<uint32_t>(element), static_cast<uint32_t>(element >> 32), 0x10AAu});
  return 2.0f * uniform(bits[0]) - 1.0f;
}

}  // namespace

ParameterList::ParameterList(const ModelSpec& s) : dtype_(s.dtype), adapted_(s.lora.rank > 0), frozen_(adapted_) {
  check_spec(s);
  append_base(s);
  base_ = all_.size();
  frozen_ = false;
  if (!adapted_) return;
  append_adapters(s);
  append_copies(s);
}

void ParameterList::append_base(const ModelSpec& s) {
  embedding_ = append("model.embed_tokens.weight", s.vocab, s.hidden, s.tied ? Layout::panels : Layout::rows);
  for (int64_t i = 0; i < s.layers; ++i) {
    const std::string prefix = "model.layers." + std::to_string(i) + ".";
    int64_t index = 0;
    const auto linear = [&](const char* name, int64_t rows, int64_t columns) {
      return LinearParameters{append(prefix + name + ".weight", rows, columns, Layout::panels), index++, {}, {}};
    };
    const auto norm = [&](const char* name, int64_t width) {
      return append(prefix + name + ".weight", width, 0, Layout::vector, 1.0f);
    };
    const auto bias = [&](const char* name, int64_t width) {
      return append(prefix + name + ".bias", width, 0, Layout::vector);
    };
    LayerParameters layer{};
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
  static_cast<Parameter&>(head_) = s.tied ? embedding_ : append(head_name(s), s.outputs(), s.hidden, Layout::panels);
}

Parameter ParameterList::append(const std::string& name, int64_t rows, int64_t columns, Layout layout, float initial) {
  // Of dimensions below 2^31, so the product fits; a sum of many may not.
  const int64_t elements = layout == Layout::panels ? panel_elements(rows, columns, dtype_) : rows * (columns ? columns : 1);
  const int64_t room = ceil_div(elements, kAlign) * kAlign, gradient = frozen_ ? kFrozen : trained_elements_;
  const Parameter parameter{name, rows, columns, layout, elements_, elements, initial, panel_depth(columns, dtype_), gradient};
  elements_ = checked_sum(elements_, room);
  if (!frozen_) trained_elements_ += room;
  all_.push_back(parameter);
  return parameter;
}

void ParameterList::append_adapters(const ModelSpec& s) {
  for (LayerParameters& layer : layers_)
    for (LinearParameters* linear : {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down}) {
      const std::string module = module_of(linear->name);
      if (contains(s.lora.targets, module)) append_adapter(*linear, module, s.lora.rank);
    }
  if (s.adapts_head()) append_adapter(head_, module_of(head_name(s)), s.lora.rank);
}

void ParameterList::append_adapter(LinearParameters& linear, const std::string& module, int64_t rank) {
  linear.a = append(module + ".lora_A.weight", rank, linear.columns, Layout::panels);
  linear.b = append(module + ".lora_B.weight", linear.rows, rank, Layout::panels);
}

// The copies take the places of what they are copies of. Of a tied table, the embedding's copy is its own, and so is the
// head's.
void ParameterList::append_copies(const ModelSpec& s) {
  const auto copy = [&](Parameter& p, const std::string& name, Layout layout) {
    if (p.rows == 0 || !contains(s.lora.saved, module_of(name))) return;
    const Parameter from = p;
    p = append(name, p.rows, p.columns, layout, p.initial);
    copies_.push_back({from, p});
  };
  copy(head_, head_name(s), Layout::panels);
  copy(embedding_, embedding_.name, Layout::rows);
  for (LayerParameters& l : layers_)
    for (Parameter* p :
         std::initializer_list<Parameter*>{&l.input_norm, &l.q, &l.k, &l.v, &l.o, &l.q_bias, &l.k_bias, &l.v_bias, &l.q_norm,
                                           &l.k_norm, &l.post_norm, &l.gate, &l.up, &l.down})
      copy(*p, p->name, p->layout);
  copy(norm_, norm_.name, norm_.layout);
}

int64_t ParameterList::count() const { return count_of(base()); }
int64_t ParameterList::trained_count() const { return count_of(trained()); }

void ParameterList::initialize(const WeightStore& store, uint64_t seed, float std) const {
  for (size_t p = 0; p < base_; ++p)
    for (int64_t i = 0; i < all_[p].count(); ++i)
      store.set(all_[p], i, all_[p].is_matrix() ? std * normal(seed, static_cast<uint32_t>(p), i) : all_[p].initial);
}

void ParameterList::initialize_head(const WeightStore& store, uint64_t seed, float std) const {
  const Parameter& head = all_[base_ - 1];
  for (int64_t i = 0; i < head.count(); ++i) store.set(head, i, std * normal(seed, static_cast<uint32_t>(base_ - 1), i));
}

void ParameterList::initialize_added(const WeightStore& store, uint64_t seed) const {
  uint32_t number = 0;
  const auto next = [&](const LinearParameters& linear) {
    ++number;  // of the linear layer, whether it has an adapter or not
    const Parameter &a = linear.a, &b = linear.b;
    const float bound = static_cast<float>(1.0 / std::sqrt(static_cast<double>(linear.columns)));
    for (int64_t i = 0; i < a.count(); ++i) store.set(a, i, bound * symmetric(seed, number, i));
    for (int64_t i = 0; i < b.count(); ++i) store.set(b, i, 0.0f);
  };
  for (const LayerParameters& layer : layers_)
    for (const LinearParameters* linear : {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down})
      next(*linear);
  next(head_);
  for (const auto& [from, to] : copies_)
    for (int64_t i = 0; i < to.count(); ++i) store.set(to, i, weight_of(store.weights, from, i));
}

}  // namespace zazen

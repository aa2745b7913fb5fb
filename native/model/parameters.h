// A model's parameters as one named list over one flat buffer. The list drives init, load, gradients, optimizer and save;
// gradients, moments and masters are buffers of what is trained alone, so element i of each belongs together. Where everything
// is trained they have the shape of the weights. Only bf16 weights in panels of pairs lie in another order, within the same
// elements.
//
// Adapters, and copies of modules that are trained whole, come after the parameters of the base. So the list of the same model
// without them is the base as it was, over the same buffer.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "core/buffer.h"
#include "model/spec.h"

namespace zazen {

enum class Layout { vector, rows, panels };

// Of a head that is not tied, in checkpoints of causal language models and of sequence classifiers.
inline const char* head_name(const ModelSpec& spec) { return spec.scalar ? "score.weight" : "lm_head.weight"; }

struct Parameter {
  std::string name;       // as in Hugging Face checkpoints
  int64_t rows, columns;  // vectors: rows, and columns 0
  Layout layout;
  int64_t offset;    // into the flat buffer
  int64_t elements;  // padding included
  float initial;     // of vectors
  int64_t depth;     // of panels: columns, padding included
  int64_t gradient;  // into the flat buffers of what is trained; below 0: frozen

  int64_t count() const { return rows * (columns ? columns : 1); }
  // Where logical element i (row-major) lies in the flat buffer: of weights of a type, and of gradients, moments and masters.
  int64_t at(int64_t i, DType type) const {
    return offset + (type == DType::bf16 && is_panels() ? pair_index(i / columns, i % columns, depth) : place(i));
  }
  int64_t trained_at(int64_t i) const { return gradient + place(i); }
  bool is_trained() const { return gradient >= 0; }
  bool is_panels() const { return layout == Layout::panels; }
  bool is_matrix() const { return layout != Layout::vector; }

 private:
  int64_t place(int64_t i) const { return is_panels() ? panel_index(i / columns, i % columns, depth) : i; }
};

// The weight of a linear layer, and its adapter.
struct LinearParameters : Parameter {
  int64_t index = 0;  // among those of a layer; 0 of the head
  Parameter a, b;     // [rank, columns], [rows, rank]; of no rows without an adapter
  bool is_adapted() const { return a.rows > 0; }
};
constexpr size_t kLinears = 7, kDown = 6;  // of a layer; the index of the last

struct LayerParameters {
  LinearParameters q, k, v, o, gate, up, down;
  Parameter input_norm, post_norm;
  Parameter q_bias, k_bias, v_bias;  // with qkv_bias
  Parameter q_norm, k_norm;          // with qk_norm, [head_dim]
};

// The weights in memory: what the model computes with and, where bf16 weights are trained, the f32 masters that they are
// rounded from.
struct WeightStore {
  TensorRef weights;
  float* master = nullptr;  // null: none

  // Logical element i of a parameter.
  void set(const Parameter& p, int64_t i, float value) const {
    if (master && p.is_trained()) master[p.trained_at(i)] = value;
    if (weights.type == DType::bf16)
      weights.as<bf16>()[p.at(i, DType::bf16)] = f32_to_bf16(value);
    else
      weights.as<float>()[p.at(i, DType::f32)] = value;
  }
};

// Logical element i of a parameter, as the model computes with it.
inline float weight_of(TensorView weights, const Parameter& p, int64_t i) {
  if (weights.type == DType::bf16) return bf16_to_f32(weights.as<bf16>()[p.at(i, DType::bf16)].bits);
  return weights.as<float>()[p.at(i, DType::f32)];
}

// A module that is trained whole beside a frozen base: `to` starts as `from`.
struct Copy {
  Parameter from, to;
};

class ParameterList {
 public:
  explicit ParameterList(const ModelSpec& spec);

  const std::vector<Parameter>& all() const { return all_; }
  std::span<const Parameter> base() const { return std::span(all_).first(base_); }
  std::span<const Parameter> added() const { return std::span(all_).subspan(base_); }  // adapters and copies
  std::span<const Parameter> trained() const { return adapted_ ? added() : base(); }
  const std::vector<Copy>& copies() const { return copies_; }
  const LayerParameters& layer(int64_t index) const { return layers_[static_cast<size_t>(index)]; }
  const Parameter& embedding() const { return embedding_; }
  const Parameter& norm() const { return norm_; }
  const LinearParameters& head() const { return head_; }          // its weight is the embedding when tied
  int64_t elements() const { return elements_; }                  // of the flat buffer
  int64_t trained_elements() const { return trained_elements_; }  // of the flat buffers of what is trained
  // Whether gradients of the embedding and of the head belong to one weight.
  bool is_gradient_tied() const { return embedding_.is_trained() && embedding_.offset == head_.offset; }
  // Logical, what people call the size of a model.
  int64_t count() const;
  int64_t trained_count() const;

  // Normal numbers for matrices, ones for norms, zeros for biases. A weight depends on seed and its logical place alone.
  void initialize(const WeightStore& store, uint64_t seed, float std) const;
  // The same numbers for the head alone, the last parameter of the base. Not of a tied head.
  void initialize_head(const WeightStore& store, uint64_t seed, float std) const;
  // What is added to the base: A uniform in +-1 / sqrt(K), as peft does (kaiming_uniform_ with a = sqrt(5)), B zero, copies
  // equal to the weights that they are copies of. So the model computes what its base computes.
  void initialize_added(const WeightStore& store, uint64_t seed) const;

 private:
  void append_base(const ModelSpec& spec);
  void append_adapters(const ModelSpec& spec);
  void append_adapter(LinearParameters& linear, const std::string& module, int64_t rank);
  void append_copies(const ModelSpec& spec);
  Parameter append(const std::string& name, int64_t rows, int64_t columns, Layout layout, float initial = 0.0f);

  std::vector<Parameter> all_;
  size_t base_ = 0;  // parameters of the base
  std::vector<Copy> copies_;
  std::vector<LayerParameters> layers_;
  Parameter embedding_, norm_;
  LinearParameters head_{};
  int64_t elements_ = 0, trained_elements_ = 0;
  DType dtype_;
  bool adapted_, frozen_;  // frozen_: what is appended next
};

}  // namespace zazen

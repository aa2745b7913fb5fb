// A model's parameters as one named list over one flat buffer. The list drives init, load, gradients, optimizer and save;
// gradients, moments and masters are buffers of the same shape, so element i of each belongs together. Only bf16 weights in
// panels of pairs lie in another order, within the same elements.
#pragma once

#include <string>
#include <vector>

#include "core/buffer.h"
#include "model/spec.h"

namespace zazen {

enum class Layout { vector, rows, panels };

struct Parameter {
  std::string name;       // as in Hugging Face checkpoints
  int64_t rows, columns;  // vectors: rows, and columns 0
  Layout layout;
  int64_t offset;    // into the flat buffer
  int64_t elements;  // padding included
  float initial;     // of vectors
  int64_t depth;     // of panels: columns, padding included

  int64_t count() const { return rows * (columns ? columns : 1); }
  // Where logical element i (row-major) lies in the flat buffer: of gradients, moments and masters, and of weights of a type.
  int64_t at(int64_t i) const { return offset + (is_panels() ? panel_index(i / columns, i % columns, depth) : i); }
  int64_t at(int64_t i, DType type) const {
    return type == DType::bf16 && is_panels() ? offset + pair_index(i / columns, i % columns, depth) : at(i);
  }
  bool is_panels() const { return layout == Layout::panels; }
  bool is_matrix() const { return layout != Layout::vector; }
};

struct LayerParameters {
  Parameter input_norm, q, k, v, o, post_norm, gate, up, down;
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
    if (master) master[p.at(i)] = value;
    if (weights.type == DType::bf16)
      weights.as<bf16>()[p.at(i, DType::bf16)] = f32_to_bf16(value);
    else
      weights.as<float>()[p.at(i)] = value;
  }
};

// Logical element i of a parameter, as the model computes with it.
inline float weight_of(TensorView weights, const Parameter& p, int64_t i) {
  if (weights.type == DType::bf16) return bf16_to_f32(weights.as<bf16>()[p.at(i, DType::bf16)].bits);
  return weights.as<float>()[p.at(i)];
}

class ParameterList {
 public:
  explicit ParameterList(const ModelSpec& spec);

  const std::vector<Parameter>& all() const { return all_; }
  const LayerParameters& layer(int64_t index) const { return layers_[static_cast<size_t>(index)]; }
  const Parameter& embedding() const { return embedding_; }
  const Parameter& norm() const { return norm_; }
  const Parameter& head() const { return head_; }  // the embedding when tied
  int64_t elements() const { return elements_; }   // of the flat buffer
  int64_t count() const;                           // logical, what people call the size of a model

  // Normal numbers for matrices, ones for norms, zeros for biases. A weight depends on seed and its logical place alone.
  void initialize(const WeightStore& store, uint64_t seed, float std) const;

 private:
  Parameter append(const std::string& name, int64_t rows, int64_t columns, Layout layout, float initial = 0.0f);

  std::vector<Parameter> all_;
  std::vector<LayerParameters> layers_;
  Parameter embedding_, norm_, head_;
  int64_t elements_ = 0;
  DType dtype_;
};

}  // namespace zazen

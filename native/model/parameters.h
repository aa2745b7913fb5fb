// A model's parameters as one named list over one flat buffer. The list drives init, load, gradients, optimizer and save;
// gradients and moments are buffers of the same shape, so element i of each belongs together.
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

  int64_t count() const { return rows * (columns ? columns : 1); }
  // Where logical element i (row-major) lies in the flat buffer.
  int64_t at(int64_t i) const {
    return offset + (layout == Layout::panels ? panel_index(i / columns, i % columns, columns) : i);
  }
  bool is_matrix() const { return layout != Layout::vector; }
};

struct LayerParameters {
  Parameter input_norm, q, k, v, o, post_norm, gate, up, down;
  Parameter q_bias, k_bias, v_bias;  // with qkv_bias
  Parameter q_norm, k_norm;          // with qk_norm, [head_dim]
};

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
  void initialize(float* weights, uint64_t seed, float std) const;

 private:
  Parameter append(const std::string& name, int64_t rows, int64_t columns, Layout layout, float initial = 0.0f);

  std::vector<Parameter> all_;
  std::vector<LayerParameters> layers_;
  Parameter embedding_, norm_, head_;
  int64_t elements_ = 0;
};

}  // namespace zazen

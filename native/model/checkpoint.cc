#include "model/checkpoint.h"

#include <algorithm>

#include "core/safetensors.h"

namespace zazen {
namespace {

constexpr int64_t kChunk = 1 << 18;  // elements read at a time

std::vector<int64_t> shape_of(const Parameter& p) {
  return p.columns ? std::vector<int64_t>{p.rows, p.columns} : std::vector<int64_t>{p.rows};
}

bool may_be_left_over(const std::string& name, const ModelSpec& spec) {
  return (spec.tied && name == "lm_head.weight") || name.ends_with(".rotary_emb.inv_freq");
}

void check(const SafetensorsFile& file, const ModelSpec& spec, const ParameterList& parameters) {
  for (const auto& tensor : file.tensors()) {
    const bool known = std::any_of(parameters.all().begin(), parameters.all().end(),
                                   [&](const Parameter& p) { return p.name == tensor.name; });
    ZAZEN_CHECK(known || may_be_left_over(tensor.name, spec), "TENSOR_UNEXPECTED", "[", file.path(),
                "] expected only tensors of this ", "architecture, got \"", tensor.name,
                "\"; check architectures and num_hidden_layers in config.json");
  }
  for (const auto& p : parameters.all()) file.require(p.name, shape_of(p));
}

}  // namespace

void check_weights(const std::string& path, const ModelSpec& spec, const ParameterList& parameters) {
  check(SafetensorsFile(path), spec, parameters);
}

void load_weights(const std::string& path, const ModelSpec& spec, const ParameterList& parameters, float* weights) {
  const SafetensorsFile file(path);
  check(file, spec, parameters);
  Buffer<float> chunk(kChunk);
  for (const auto& p : parameters.all()) {
    const TensorInfo& tensor = file.require(p.name, shape_of(p));
    for (int64_t first = 0; first < p.count(); first += kChunk) {
      const int64_t count = std::min(kChunk, p.count() - first);
      file.read_f32(tensor, first, count, chunk.data());
      for (int64_t i = 0; i < count; ++i) weights[p.at(first + i)] = chunk[static_cast<size_t>(i)];
    }
  }
}

void save_weights(const std::string& path, const ParameterList& parameters, const float* weights) {
  std::vector<TensorSource> tensors;
  for (const auto& p : parameters.all())
    tensors.push_back({p.name, shape_of(p), [&p, weights](int64_t first, int64_t count, float* out) {
                         for (int64_t i = 0; i < count; ++i) out[i] = weights[p.at(first + i)];
                       }});
  write_safetensors(path, std::move(tensors));
}

}  // namespace zazen

#include "model/checkpoint.h"

#include <algorithm>
#include <set>

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

std::vector<SafetensorsFile> open_all(const std::vector<std::string>& paths) {
  std::vector<SafetensorsFile> files;
  for (const auto& path : paths) files.emplace_back(path);
  return files;
}

// The file that holds a parameter; the last one answers for what is in none.
const SafetensorsFile& file_of(const std::vector<SafetensorsFile>& files, const Parameter& p) {
  for (const auto& file : files)
    if (file.find(p.name)) return file;
  return files.back();
}

void check_names(const std::vector<SafetensorsFile>& files, const ModelSpec& spec, const ParameterList& parameters) {
  std::set<std::string> known, seen;
  for (const auto& p : parameters.all()) known.insert(p.name);
  for (const auto& file : files)
    for (const auto& tensor : file.tensors()) {
      ZAZEN_CHECK(known.count(tensor.name) || may_be_left_over(tensor.name, spec), "TENSOR_UNEXPECTED", "[", file.path(),
                  "] expected only tensors of this ", "architecture, got \"", tensor.name,
                  "\"; check architectures and num_hidden_layers in config.json");
      ZAZEN_CHECK(seen.insert(tensor.name).second, "TENSOR_UNEXPECTED", "[", file.path(),
                  "] expected every tensor in one file, got \"", tensor.name, "\" in two; the files do not belong together");
    }
}

void check(const std::vector<SafetensorsFile>& files, const ModelSpec& spec, const ParameterList& parameters) {
  check_names(files, spec, parameters);
  for (const auto& p : parameters.all()) file_of(files, p).require(p.name, shape_of(p));
}

}  // namespace

void check_weights(const std::vector<std::string>& paths, const ModelSpec& spec, const ParameterList& parameters) {
  check(open_all(paths), spec, parameters);
}

void load_weights(const std::vector<std::string>& paths, const ModelSpec& spec, const ParameterList& parameters,
                  const WeightStore& store) {
  const std::vector<SafetensorsFile> files = open_all(paths);
  check(files, spec, parameters);
  Buffer<float> chunk(kChunk);
  for (const auto& p : parameters.all()) {
    const SafetensorsFile& file = file_of(files, p);
    const TensorInfo& tensor = file.require(p.name, shape_of(p));
    for (int64_t first = 0; first < p.count(); first += kChunk) {
      const int64_t count = std::min(kChunk, p.count() - first);
      file.read_f32(tensor, first, count, chunk.data());
      for (int64_t i = 0; i < count; ++i) store.set(p, first + i, chunk[static_cast<size_t>(i)]);
    }
  }
}

void save_weights(const std::string& path, const ParameterList& parameters, TensorView weights) {
  std::vector<TensorSource> tensors;
  for (const auto& p : parameters.all())
    tensors.push_back({p.name, shape_of(p), [&p, weights](int64_t first, int64_t count, float* out) {
                         for (int64_t i = 0; i < count; ++i) out[i] = weight_of(weights, p, first + i);
                       }});
  write_safetensors(path, std::move(tensors), weights.type);
}

}  // namespace zazen

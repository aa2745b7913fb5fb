#include "model/checkpoint.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "core/json.h"
#include "core/safetensors.h"

namespace zazen {
namespace {

constexpr int64_t kChunk = 1 << 18;  // elements read at a time
constexpr char kStep[] = "step";     // metadata of a state file

float to_float(float value) { return value; }
float to_float(bf16 value) { return bf16_to_f32(value.bits); }
void from_float(float& to, float value) { to = value; }
void from_float(bf16& to, float value) { to = f32_to_bf16(value); }
constexpr char kAdapterPrefix[] = "base_model.model.";

std::vector<int64_t> shape_of(const Parameter& p) {
  return p.columns ? std::vector<int64_t>{p.rows, p.columns} : std::vector<int64_t>{p.rows};
}

bool may_be_left_over(const std::string& name, const ModelSpec& spec, HeadFrom head) {
  const bool headless = spec.tied || head == HeadFrom::caller;
  return (headless && name == "lm_head.weight") || name.ends_with(".rotary_emb.inv_freq");
}

// What the files have to have.
std::vector<Parameter> wanted(const ModelSpec& spec, const ParameterList& parameters, HeadFrom head) {
  std::vector<Parameter> list = parameters.all();
  if (head == HeadFrom::caller) std::erase_if(list, [&](const Parameter& p) { return p.name == head_name(spec); });
  return list;
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

void check_names(const std::vector<SafetensorsFile>& files, const ModelSpec& spec, const std::vector<Parameter>& parameters,
                 HeadFrom head) {
  std::set<std::string> known, seen;
  for (const auto& p : parameters) known.insert(p.name);
  for (const auto& file : files)
    for (const auto& tensor : file.tensors()) {
      ZAZEN_CHECK(known.count(tensor.name) || may_be_left_over(tensor.name, spec, head), "TENSOR_UNEXPECTED", "[", file.path(),
                  "] expected only tensors of this architecture, got ", shown(tensor.name),
                  "; check architectures and num_hidden_layers in config.json");
      ZAZEN_CHECK(seen.insert(tensor.name).second, "TENSOR_UNEXPECTED", "[", file.path(),
                  "] expected every tensor in one file, got ", shown(tensor.name), " in two; the files do not belong together");
    }
}

void check(const std::vector<SafetensorsFile>& files, const ModelSpec& spec, const std::vector<Parameter>& parameters,
           HeadFrom head) {
  check_names(files, spec, parameters, head);
  for (const auto& p : parameters) file_of(files, p).require_float(p.name, shape_of(p));
}

// Hands each element of a parameter's tensor to set(i, value), i its logical place; `chunk` is [kChunk] of scratch.
template <class Set>
void read_parameter(const SafetensorsFile& file, const TensorInfo& tensor, const Parameter& p, Buffer<float>& chunk,
                    const Set& set) {
  for (int64_t first = 0; first < p.count(); first += kChunk) {
    const int64_t count = std::min(kChunk, p.count() - first);
    file.read_f32(tensor, first, count, chunk.data());
    for (int64_t i = 0; i < count; ++i) set(first + i, chunk[static_cast<size_t>(i)]);
  }
}

std::string state_name(const StateBuffer& buffer, const Parameter& p) { return buffer.name + "." + p.name; }

TensorSource state_source(const StateBuffer& buffer, const Parameter& p) {
  const auto read = [&p, data = buffer.data](int64_t first, int64_t count, float* out) {
    with_type(data, [&](const auto* from) {
      for (int64_t i = 0; i < count; ++i) out[i] = to_float(from[p.trained_at(first + i)]);
    });
  };
  return {state_name(buffer, p), shape_of(p), read, buffer.data.type};
}

void check(const SafetensorsFile& file, const ParameterList& parameters, const std::vector<StateBuffer>& buffers) {
  std::set<std::string> known;
  for (const auto& buffer : buffers)
    for (const auto& p : parameters.trained()) {
      const TensorInfo& tensor = file.require(*known.insert(state_name(buffer, p)).first, shape_of(p));
      ZAZEN_CHECK(tensor.dtype == buffer.data.type, "SAFETENSORS_DTYPE", "[", file.path(), "] tensor \"", tensor.name,
                  "\": expected dtype ", dtype_name(buffer.data.type), ", got ", dtype_name(tensor.dtype),
                  "; the file is the state of another engine");
    }
  for (const auto& tensor : file.tensors())
    ZAZEN_CHECK(known.count(tensor.name), "TENSOR_UNEXPECTED", "[", file.path(),
                "] expected only the state of this model's optimizer, got ", shown(tensor.name),
                "; the file is the state of another engine");
}

int64_t step_of(const SafetensorsFile& file) {
  const auto found = file.metadata().find(kStep);
  const std::string stated = found == file.metadata().end() ? "" : found->second;
  int64_t step = -1;
  const char* end = stated.data() + stated.size();
  const auto [last, error] = std::from_chars(stated.data(), end, step);
  ZAZEN_CHECK(error == std::errc() && last == end && step >= 0, "SAFETENSORS_METADATA", "[", file.path(),
              "] expected the metadata \"step\" with a whole number, got ", shown(stated),
              "; the file is no state of an engine");
  return step;
}

std::string adapter_name(const Parameter& p) { return kAdapterPrefix + p.name; }

// Where peft writes the head's weight again beside its adapter.
std::string repeated_head() { return std::string(kAdapterPrefix) + "lm_head.base_layer.weight"; }

void check_adapter(const SafetensorsFile& file, const ParameterList& parameters) {
  std::set<std::string> known;
  for (const auto& p : parameters.added()) known.insert(adapter_name(p));
  if (parameters.head().is_adapted()) known.insert(repeated_head());
  for (const auto& tensor : file.tensors())
    ZAZEN_CHECK(known.count(tensor.name), "TENSOR_UNEXPECTED", "[", file.path(),
                "] expected only tensors of the adapters that adapter_config.json names, got ", shown(tensor.name),
                "; check target_modules and modules_to_save there, and that the base model is the right one");
  for (const auto& p : parameters.added()) file.require_float(adapter_name(p), shape_of(p));
}

// It has to be the base's: an adapter of another weight computes something else.
void check_repeated_head(const SafetensorsFile& file, const Parameter& head, TensorView weights, Buffer<float>& chunk) {
  const std::string name = repeated_head();
  const bool rounds = weights.type == DType::bf16;
  read_parameter(file, file.require_float(name, shape_of(head)), head, chunk, [&](int64_t i, float value) {
    const float stated = rounds ? bf16_to_f32(f32_to_bf16(value).bits) : value;
    ZAZEN_CHECK(stated == weight_of(weights, head, i), "TENSOR_UNEXPECTED", "[", file.path(), "] tensor \"", name,
                "\": expected the weights of the base's head, got ", stated, " for ", weight_of(weights, head, i), " in row ",
                i / head.columns,
                "; the adapter belongs to another base, or its head was resized or trained: choose that base");
  });
}

// Rows of an adapter's matrix as they are computed with, in row-major order.
std::vector<double> rows_of(TensorView weights, const Parameter& p, int64_t first, int64_t count) {
  std::vector<double> rows(static_cast<size_t>(count * p.columns));
  for (int64_t i = 0; i < count * p.columns; ++i)
    rows[static_cast<size_t>(i)] = static_cast<double>(weight_of(weights, p, first * p.columns + i));
  return rows;
}

// out [count] += scale * B A, from element `first` on; both are multiples of a row.
void add_product(float* out, const LinearParameters& p, TensorView weights, double scale, int64_t first, int64_t count) {
  const int64_t K = p.columns, rank = p.a.rows, rows = count / K;
  const std::vector<double> a = rows_of(weights, p.a, 0, rank), b = rows_of(weights, p.b, first / K, rows);
  std::vector<double> sum(static_cast<size_t>(K));
  for (int64_t n = 0; n < rows; ++n) {
    std::fill(sum.begin(), sum.end(), 0.0);
    for (int64_t r = 0; r < rank; ++r)
      for (int64_t k = 0; k < K; ++k)
        sum[static_cast<size_t>(k)] += b[static_cast<size_t>(n * rank + r)] * a[static_cast<size_t>(r * K + k)];
    for (int64_t k = 0; k < K; ++k) {
      float& element = out[n * K + k];
      element = static_cast<float>(static_cast<double>(element) + scale * sum[static_cast<size_t>(k)]);
    }
  }
}

TensorSource source_of(const std::string& name, const Parameter& p, TensorView weights) {
  const auto read = [&p, weights](int64_t first, int64_t count, float* out) {
    for (int64_t i = 0; i < count; ++i) out[i] = weight_of(weights, p, first + i);
  };
  return {name, shape_of(p), read, weights.type};
}

TensorSource merged_source(const LinearParameters& p, TensorView weights, double scale) {
  TensorSource source = source_of(p.name, p, weights);
  if (!p.is_adapted()) return source;
  source.read = [&p, weights, scale, base = source.read](int64_t first, int64_t count, float* out) {
    base(first, count, out);
    add_product(out, p, weights, scale, first, count);
  };
  return source;
}

}  // namespace

void check_weights(const std::vector<std::string>& paths, const ModelSpec& spec, const ParameterList& parameters,
                   HeadFrom head) {
  check(open_all(paths), spec, wanted(spec, parameters, head), head);
}

void load_weights(const std::vector<std::string>& paths, const ModelSpec& spec, const ParameterList& parameters,
                  const WeightStore& store, HeadFrom head) {
  const std::vector<SafetensorsFile> files = open_all(paths);
  const std::vector<Parameter> list = wanted(spec, parameters, head);
  check(files, spec, list, head);
  Buffer<float> chunk(kChunk);
  for (const auto& p : list) {
    const SafetensorsFile& file = file_of(files, p);
    read_parameter(file, file.require(p.name, shape_of(p)), p, chunk, [&](int64_t i, float value) { store.set(p, i, value); });
  }
}

void save_weights(const std::string& path, const ParameterList& parameters, TensorView weights) {
  std::vector<TensorSource> tensors;
  for (const auto& p : parameters.all()) tensors.push_back(source_of(p.name, p, weights));
  write_safetensors(path, std::move(tensors));
}

void save_state(const std::string& path, const ParameterList& parameters, const std::vector<StateBuffer>& buffers,
                int64_t step) {
  std::vector<TensorSource> tensors;
  for (const auto& buffer : buffers)
    for (const auto& p : parameters.trained()) tensors.push_back(state_source(buffer, p));
  write_safetensors(path, std::move(tensors), {{kStep, std::to_string(step)}});
}

void check_state(const std::string& path, const ParameterList& parameters, const std::vector<StateBuffer>& buffers) {
  const SafetensorsFile file(path);
  check(file, parameters, buffers);
  step_of(file);
}

int64_t load_state(const std::string& path, const ParameterList& parameters, const std::vector<StateBuffer>& buffers) {
  const SafetensorsFile file(path);
  check(file, parameters, buffers);
  const int64_t step = step_of(file);
  Buffer<float> chunk(kChunk);
  for (const auto& buffer : buffers)
    for (const auto& p : parameters.trained())
      with_type(buffer.data, [&](auto* to) {
        read_parameter(file, file.require(state_name(buffer, p), shape_of(p)), p, chunk,
                       [&](int64_t i, float value) { from_float(to[p.trained_at(i)], value); });
      });
  return step;
}

void check_adapter(const std::string& path, const ParameterList& parameters) {
  check_adapter(SafetensorsFile(path), parameters);
}

void load_adapter(const std::string& path, const ParameterList& parameters, const WeightStore& store) {
  const SafetensorsFile file(path);
  check_adapter(file, parameters);
  Buffer<float> chunk(kChunk);
  for (const auto& p : parameters.added())
    read_parameter(file, file.require(adapter_name(p), shape_of(p)), p, chunk,
                   [&](int64_t i, float value) { store.set(p, i, value); });
  if (file.find(repeated_head())) check_repeated_head(file, parameters.head(), store.weights, chunk);
}

void save_adapter(const std::string& path, const ParameterList& parameters, const WeightStore& store) {
  std::vector<TensorSource> tensors;
  for (const auto& p : parameters.added()) {
    tensors.push_back(source_of(adapter_name(p), p, store.weights));
    tensors.back().type = DType::f32;
    if (store.master)
      tensors.back().read = [&p, master = store.master](int64_t first, int64_t count, float* out) {
        for (int64_t i = 0; i < count; ++i) out[i] = master[p.trained_at(first + i)];
      };
  }
  write_safetensors(path, std::move(tensors));
}

void save_merged(const std::string& path, const ModelSpec& spec, const ParameterList& parameters, TensorView weights) {
  std::vector<TensorSource> tensors;
  const auto add = [&](const Parameter& p) { tensors.push_back(source_of(p.name, p, weights)); };
  const auto add_linear = [&](const LinearParameters& p) { tensors.push_back(merged_source(p, weights, spec.lora.scale)); };
  add(parameters.embedding());
  if (parameters.head().offset != parameters.embedding().offset || parameters.head().is_adapted()) {
    add_linear(parameters.head());
    tensors.back().name = head_name(spec);
  }
  for (int64_t i = 0; i < spec.layers; ++i) {
    const LayerParameters& l = parameters.layer(i);
    for (const LinearParameters* p : {&l.q, &l.k, &l.v, &l.o, &l.gate, &l.up, &l.down}) add_linear(*p);
    for (const Parameter* p : {&l.input_norm, &l.post_norm, &l.q_bias, &l.k_bias, &l.v_bias, &l.q_norm, &l.k_norm})
      if (p->rows > 0) add(*p);
  }
  add(parameters.norm());
  write_safetensors(path, std::move(tensors));
}

}  // namespace zazen

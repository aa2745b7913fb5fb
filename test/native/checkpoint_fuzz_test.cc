// Damages the files of a small model: its weights, its adapters, its optimizer's state. Each is refused by a zazen::Error
// before anything is touched, or loaded; then what is saved is the file byte for byte where its header is as it was written,
// and two saves are the same.
#include "fuzz.h"
#include "harness.h"
#include "model/checkpoint.h"
#include "support.h"

namespace {

using namespace zazen;
using namespace zazen::test;

// Panels that are not full, biases and a head of its own.
ModelSpec base_spec() {
  ModelSpec s;
  s.vocab = 19;
  s.hidden = 12;
  s.intermediate = 20;
  s.layers = 1;
  s.heads = 2;
  s.kv_heads = 1;
  s.head_dim = 6;
  s.max_positions = 8;
  s.rope_frequencies = {1.0f, 0.1f, 0.01f};
  s.windows = {0};
  s.qkv_bias = true;
  return s;
}

ModelSpec adapted_spec() {
  ModelSpec s = base_spec();
  s.lora = {3, 0.5f, {"model.layers.0.self_attn.q_proj", "model.layers.0.mlp.down_proj"}, {"lm_head", "model.norm"}};
  return s;
}

// Whose files they are: how they are loaded and saved.
struct Kind {
  const char* name;
  int quick, full;
  ModelSpec spec;
  std::function<void(const std::string&path, const ParameterList&, Floats&memory)> check, load;
  std::function<void(const std::string& path, const ParameterList&, Floats& memory)> save;
  size_t (*size)(const ParameterList&);
  std::vector<const char*> codes;
};

WeightStore store_of(Floats& memory) { return {TensorRef(memory.data()), nullptr}; }

std::vector<StateBuffer> moments(const ParameterList& list, Floats& memory) {
  const auto half = static_cast<size_t>(list.trained_elements());
  return {{"exp_avg", memory.data()}, {"exp_avg_sq", memory.data() + half}};
}

size_t weight_elements(const ParameterList& list) { return static_cast<size_t>(list.elements()); }
size_t state_elements(const ParameterList& list) { return 2 * static_cast<size_t>(list.trained_elements()); }

Kind weights() {
  static const ModelSpec spec = base_spec();
  return {"native weights",
          800,
          8000,
          spec,
          [](const auto& path, const auto& list, Floats&) { check_weights({path}, spec, list); },
          [](const auto& path, const auto& list, Floats& memory) { load_weights({path}, spec, list, store_of(memory)); },
          [](const auto& path, const auto& list, Floats& memory) { save_weights(path, list, TensorView(memory.data())); },
          weight_elements,
          {"TENSOR_MISSING", "TENSOR_SHAPE", "TENSOR_UNEXPECTED"}};
}

Kind adapters() {
  return {"native adapters",
          800,
          8000,
          adapted_spec(),
          [](const auto& path, const auto& list, Floats&) { check_adapter(path, list); },
          [](const auto& path, const auto& list, Floats& memory) { load_adapter(path, list, store_of(memory)); },
          [](const auto& path, const auto& list, Floats& memory) { save_adapter(path, list, store_of(memory)); },
          weight_elements,
          {"TENSOR_MISSING", "TENSOR_SHAPE", "TENSOR_UNEXPECTED"}};
}

constexpr int64_t kSteps = 17;

Kind states() {
  return {"native state",
          800,
          8000,
          base_spec(),
          [](const auto& path, const auto& list, Floats& memory) { check_state(path, list, moments(list, memory)); },
          [](const auto& path, const auto& list, Floats& memory) { load_state(path, list, moments(list, memory)); },
          [](const auto& path, const auto& list, Floats& memory) { save_state(path, list, moments(list, memory), kSteps); },
          state_elements,
          {"TENSOR_MISSING", "TENSOR_SHAPE", "TENSOR_UNEXPECTED", "SAFETENSORS_DTYPE", "SAFETENSORS_METADATA"}};
}

template <class Act>
std::string code_of(const Act& act) {
  try {
    act();
    return "";
  } catch (const Error& error) {
    return error.code();
  }
}

void require(bool holds, const char* what) {
  if (!holds) throw std::logic_error(what);
}

// What becomes of one file.
std::string outcome(const Kind& kind, const ParameterList& list, const Folder& folder, const std::string& bytes,
                    const std::string& header) {
  write_bytes(folder.file("x"), bytes);
  Floats memory(kind.size(list)), untouched(memory.size());
  const std::string checked = code_of([&] { kind.check(folder.file("x"), list, memory); });
  const std::string loaded = code_of([&] { kind.load(folder.file("x"), list, memory); });
  require(loaded.empty() || memory == untouched, "a file that is refused after something was touched");
  require(checked == loaded, "a check that says other than the load");
  if (!loaded.empty()) return loaded;
  kind.save(folder.file("once"), list, memory);
  const std::string once = read_bytes(folder.file("once"));
  if (bytes.starts_with(header)) require(once == bytes, "a file that is saved otherwise than it was");
  kind.load(folder.file("once"), list, memory);
  kind.save(folder.file("twice"), list, memory);
  require(read_bytes(folder.file("twice")) == once, "two saves that differ");
  return "";
}

void run(const Kind& kind) {
  const Folder folder(scratch());
  const ParameterList list(kind.spec);
  Floats memory = random_floats(static_cast<int64_t>(kind.size(list)), 7);
  kind.save(folder.file("seed"), list, memory);
  const std::string bytes = read_bytes(folder.file("seed"));
  const Header header = header_of(SafetensorsFile(folder.file("seed")));
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof length);
  const std::string start = bytes.substr(0, sizeof length + length), data = bytes.substr(start.size());
  const auto seen = run_fuzz(kind.name, kind.quick, kind.full, [&](Stream& random) {
    // Numbers alone in one of four, so that the header stays as it was written.
    if (random.below(4) > 0) return outcome(kind, list, folder, mutate_file(header, data, random), start);
    std::string changed = data;
    for (size_t flips = 1 + random.below(9); flips > 0; --flips)
      changed[random.below(changed.size())] = static_cast<char>(random.next());
    return outcome(kind, list, folder, start + changed, start);
  });
  for (const char* code : {"", "SAFETENSORS_HEADER", "SAFETENSORS_OFFSETS", "FILE_TRUNCATED"})
    CHECK(std::getenv("ZAZEN_FUZZ_INPUT") || seen.count(code));
  for (const char* code : kind.codes) CHECK(std::getenv("ZAZEN_FUZZ_INPUT") || seen.count(code));
}

}  // namespace

TEST(fuzz_weights_load_or_throw_a_typed_error) { run(weights()); }
TEST(fuzz_adapters_load_or_throw_a_typed_error) { run(adapters()); }
TEST(fuzz_states_load_or_throw_a_typed_error) { run(states()); }

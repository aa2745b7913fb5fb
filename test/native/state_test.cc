// The optimizer's state in a file: what is loaded is what was saved, under names and shapes of the parameters, and every other
// file is a typed error before a buffer is touched.
#include "harness.h"
#include "model/checkpoint.h"
#include "safetensors_files.h"
#include "support.h"

namespace {

using namespace zazen;
using namespace zazen::test;

// Panels that are not full, and a head tied to the embedding.
ModelSpec spec() {
  ModelSpec s;
  s.vocab = 37;
  s.hidden = 12;
  s.intermediate = 20;
  s.layers = 1;
  s.heads = s.kv_heads = 2;
  s.head_dim = 6;
  s.max_positions = 8;
  s.rope_frequencies = {1.0f, 0.1f, 0.01f};
  s.windows = {0};
  s.tied = true;
  return s;
}

// Two buffers with numbers in the places of weights, and zeros in the padding, as an optimizer leaves them.
struct Moments {
  explicit Moments(const ParameterList& list, uint64_t seed = 0) : m(static_cast<size_t>(list.elements())), v(m.size()) {
    const Floats values = random_floats(list.elements(), seed);
    for (const auto& p : list.all())
      for (int64_t i = 0; seed != 0 && i < p.count(); ++i) {
        const auto at = static_cast<size_t>(p.trained_at(i));
        m[at] = values[at];
        v[at] = values[at] * values[at];
      }
  }
  std::vector<StateBuffer> named() { return {{"exp_avg", m.data()}, {"exp_avg_sq", v.data()}}; }
  Floats m, v;
};

// A state file of `spec()` with one thing changed.
std::string state_file(const Folder& folder, const std::string& from, const std::string& to) {
  const ParameterList list(spec());
  Moments moments(list, 3);
  const std::string path = folder.file("state");
  save_state(path, list, moments.named(), 17);
  std::string bytes = read_bytes(path);
  const size_t at = bytes.find(from);
  ZAZEN_CHECK(at != std::string::npos && from.size() == to.size(), "TEST", "nothing to change");
  write_bytes(path, bytes.replace(at, from.size(), to));
  return path;
}

void load_changed(const std::string& from, const std::string& to) {
  const Folder folder;
  const std::string path = state_file(folder, from, to);
  const ParameterList list(spec());
  Moments moments(list);
  try {
    load_state(path, list, moments.named());
  } catch (const Error&) {
    CHECK_BITS(moments.m, Moments(list).m);  // untouched
    throw;
  }
}

}  // namespace

TEST(state_file_round_trip) {
  const ParameterList list(spec());
  Moments saved(list, 5), loaded(list);
  const Folder folder;
  save_state(folder.file("a"), list, saved.named(), 1'234'567'890'123);
  check_state(folder.file("a"), list, loaded.named());
  CHECK(load_state(folder.file("a"), list, loaded.named()) == 1'234'567'890'123);
  CHECK_BITS(loaded.m, saved.m);
  CHECK_BITS(loaded.v, saved.v);
  save_state(folder.file("b"), list, loaded.named(), 1'234'567'890'123);
  CHECK(read_bytes(folder.file("a")) == read_bytes(folder.file("b")));
  CHECK(folder.entries() == 2);
}

TEST(state_file_is_row_major_under_the_names_of_the_parameters) {
  const ParameterList list(spec());
  Moments saved(list, 5);
  const Folder folder;
  save_state(folder.file("a"), list, saved.named(), 1);
  const SafetensorsFile file(folder.file("a"));
  CHECK(file.tensors().size() == 2 * list.all().size());
  const Parameter& p = list.embedding();
  const TensorInfo& tensor = file.require("exp_avg_sq.model.embed_tokens.weight", {37, 12});
  const Floats values = read_all(file, tensor.name);
  for (int64_t i = 0; i < p.count(); ++i)
    CHECK(values[static_cast<size_t>(i)] == saved.v[static_cast<size_t>(p.trained_at(i))]);
}

TEST(state_files_of_something_else_are_refused_before_a_buffer_is_touched) {
  CHECK_THROWS_CODE(load_changed("exp_avg.model.norm", "exp_avg.model.nrom"), "TENSOR_MISSING");
  CHECK_THROWS_CODE(load_changed("\"shape\":[37,12]", "\"shape\":[12,37]"), "TENSOR_SHAPE");
  CHECK_THROWS_CODE(load_changed("\"F32\"", "\"I32\""), "SAFETENSORS_DTYPE");
  CHECK_THROWS_CODE(load_changed("\"step\":\"17\"", "\"step\":\"-7\""), "SAFETENSORS_METADATA");
  CHECK_THROWS_CODE(load_changed("\"step\":\"17\"", "\"step\":\"1x\""), "SAFETENSORS_METADATA");
  CHECK_THROWS_CODE(load_changed("\"step\":\"17\"", "\"stop\":\"17\""), "SAFETENSORS_METADATA");
  const Folder folder;
  const ParameterList list(spec());
  Moments moments(list, 3), one(list);
  save_state(folder.file("both"), list, moments.named(), 1);
  const std::vector<StateBuffer> first = {{"exp_avg", one.m.data()}};
  CHECK_THROWS_CODE(load_state(folder.file("both"), list, first), "TENSOR_UNEXPECTED");
  CHECK_THROWS_CODE(load_state(folder.file("none"), list, moments.named()), "FILE_MISSING");
  const std::string bytes = read_bytes(folder.file("both"));
  write_bytes(folder.file("short"), bytes.substr(0, bytes.size() - 1));
  CHECK_THROWS_CODE(load_state(folder.file("short"), list, moments.named()), "FILE_TRUNCATED");
}

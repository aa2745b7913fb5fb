// Generation that is stopped within a forward pass: it ends within half a layer and returns what was finished before.
#include "runtime/generator.h"

#include "harness.h"
#include "support.h"

namespace {

using namespace zazen;
using namespace zazen::test;

constexpr int64_t kLayers = 6;

ModelSpec spec() {
  ModelSpec s;
  s.vocab = 37;
  s.hidden = 12;
  s.intermediate = 20;
  s.layers = kLayers;
  s.heads = s.kv_heads = 2;
  s.head_dim = 6;
  s.max_positions = 100;
  s.rope_frequencies = {1.0f, 0.1f, 0.01f};
  s.windows = std::vector<int32_t>(kLayers, 0);
  s.tied = true;
  return s;
}

// MLPs computed so far, and the one in which the call is stopped; kernels are plain functions and have no other memory.
Control* control = nullptr;
int64_t mlps = 0, stop_in = 0;

void counting_swiglu(ThreadPool& pool, TensorRef y, TensorView gate, TensorView up, int64_t T, int64_t I) {
  best().swiglu_forward(pool, y, gate, up, T, I);
  if (++mlps == stop_in) control->aborted = true;
}

// A short prompt whose samples end with their first token, then one of 80 tokens, prefilled alone and in two pieces.
GenerateArgs two_prompts() {
  GenerateArgs args;
  args.prompts.ids = {1, 2, 3};
  const Ints more = random_ints(80, 3, 37);
  args.prompts.ids.insert(args.prompts.ids.end(), more.begin(), more.end());
  args.prompts.cu = {0, 3, 83};
  args.samplings.resize(2);
  args.samplings[1].max_tokens = 3;
  args.sampling_of = {0, 1};
  args.samples = 2;
  args.problems = {0, 1};
  return args;
}

Generated generate(int64_t stop_in_mlp) {
  const ModelSpec s = spec();
  Kernels kernels = best();
  kernels.swiglu_forward = counting_swiglu;
  const ParameterList list(s);
  ThreadPool pool(1);
  const Transformer model(s, list, kernels, pool);
  TensorBuffer weights(s.dtype, list.elements());
  list.initialize({weights.ref()}, 5, 0.2f);
  Generator generator(model, 1 << 20, 70);
  Control own;
  control = &own;
  mlps = 0;
  stop_in = stop_in_mlp;
  const GenerateArgs args = two_prompts();
  Generated result = generator.run(weights.view(), args, own);
  if (stop_in_mlp == 0) return result;

  // What a stop leaves behind harms no later call.
  own.aborted = false;
  stop_in = 0;
  const int64_t before = mlps;
  const Generated again = generator.run(weights.view(), args, own);
  for (const Sample& sample : again.samples) CHECK(sample.finish == Finish::length);
  mlps = before;
  return result;
}

}  // namespace

TEST(generate_is_stopped_within_a_prefill) {
  const Generated whole = generate(0);
  CHECK(mlps == kLayers * 5);  // two prefills, one of them in two pieces, and two more tokens
  for (int64_t layer = 1; layer <= 2 * kLayers; ++layer) {
    const Generated part = generate(kLayers + layer);
    CHECK(mlps == kLayers + layer);
    for (size_t i = 0; i < 2; ++i) {
      CHECK(part.samples[i].finish == Finish::length);
      CHECK_BITS(part.samples[i].tokens, whole.samples[i].tokens);
      CHECK_BITS(part.samples[i].logp, whole.samples[i].logp);
    }
    for (size_t i = 2; i < 4; ++i) {
      CHECK(part.samples[i].finish == Finish::abort);
      CHECK(part.samples[i].tokens.empty());
    }
  }
}

TEST(generate_is_stopped_within_a_token) {
  const Generated whole = generate(0), part = generate(3 * kLayers + 2);
  CHECK(mlps == 3 * kLayers + 2);
  for (size_t i = 2; i < 4; ++i) {
    CHECK(part.samples[i].finish == Finish::abort);
    CHECK(part.samples[i].tokens.size() == 1 && part.samples[i].tokens[0] == whole.samples[i].tokens[0]);
  }
}

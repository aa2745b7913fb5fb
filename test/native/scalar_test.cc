// A model with a scalar head: one number a token, at chosen tokens, the same bits however the sequences are cut; its files and
// its verbs, and those of the other head.
#include "harness.h"
#include "runtime/memory_plan.h"
#include "safetensors_files.h"
#include "support.h"

namespace {

using namespace zazen;
using namespace zazen::test;

EngineConfig config_of(DType dtype, int64_t micro_batch_tokens = 64) {
  EngineConfig c;
  c.spec.vocab = 45;
  c.spec.hidden = 24;
  c.spec.intermediate = 40;
  c.spec.layers = 2;
  c.spec.heads = 4;
  c.spec.kv_heads = 2;
  c.spec.head_dim = 6;
  c.spec.max_positions = 100;
  c.spec.rope_frequencies = {1.0f, 0.1f, 0.01f};
  c.spec.windows = {0, 0};
  c.spec.scalar = true;
  c.spec.dtype = dtype;
  c.micro_batch_tokens = micro_batch_tokens;
  c.kv_bytes = 1 << 20;
  c.trainable = false;
  return c;
}

PackedTokens tokens() { return {random_ints(100, 3, 45), {0, 70, 71, 100}}; }

EngineConfig language_config() {
  EngineConfig config = config_of(DType::f32);
  config.spec.scalar = false;
  config.trainable = true;
  return config;
}

Floats values_at(Engine& engine, std::vector<int32_t> at) {
  Control control;
  return engine.values({tokens(), std::move(at)}, control);
}

Ints all_tokens() {
  Ints all(100);
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int32_t>(i);
  return all;
}

}  // namespace

TEST(scalar_values_do_not_depend_on_the_cut_or_on_what_is_asked) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    Engine whole(config_of(dtype, 1000), {}, 1, 0.1f), cut(config_of(dtype, 1), {}, 1, 0.1f);
    const Floats values = values_at(whole, all_tokens());
    CHECK(values.size() == 100);
    CHECK_BITS(values_at(cut, all_tokens()), values);
    CHECK_BITS(values_at(cut, {69, 70, 99}), (Floats{values[69], values[70], values[99]}));
    CHECK_BITS(values_at(cut, {71}), Floats{values[71]});
    CHECK_BITS(values_at(whole, {}), Floats{});
  }
}

TEST(scalar_head_is_one_row_of_its_own) {
  const ParameterList list(config_of(DType::bf16).spec);
  CHECK(list.head().name == "score.weight" && list.head().rows == 1 && list.head().columns == 24);
  CHECK(!list.is_gradient_tied());
  ModelSpec tied = config_of(DType::f32).spec;
  tied.tied = true;
  CHECK_THROWS_CODE(ParameterList(tied), "BAD_SPEC");
}

TEST(scalar_head_is_drawn_where_the_files_are_a_language_models) {
  const Folder folder;
  for (const bool tied : {false, true}) {
    EngineConfig language = config_of(DType::f32);
    language.spec.scalar = false;
    language.spec.tied = tied;
    const std::string path = folder.file(tied ? "tied" : "language");
    Engine(language, {}, 1, 0.1f).save(path);
    EngineConfig config = config_of(DType::f32);
    CHECK_THROWS_CODE(Engine(config, {path}, 2, 0.1f), tied ? "TENSOR_MISSING" : "TENSOR_UNEXPECTED");
    config.head = HeadFrom::caller;
    Engine engine(config, {path}, 2, 0.1f), same(config, {path}, 2, 0.1f), other(config, {path}, 3, 0.1f);
    const Floats values = values_at(engine, all_tokens());
    CHECK_BITS(values_at(same, all_tokens()), values);
    CHECK(values_at(other, all_tokens()) != values);
    engine.save(folder.file("scalar"));
    Engine loaded(config_of(DType::f32), {folder.file("scalar")}, 0, 0.0f);
    CHECK_BITS(values_at(loaded, all_tokens()), values);
    CHECK(loaded.parameters().count() == engine.parameters().count());
  }
}

TEST(scalar_and_language_heads_have_their_own_verbs) {
  Control control;
  EngineConfig config = config_of(DType::f32);
  config.trainable = true;
  Engine scalar(config, {}, 1, 0.1f);
  CHECK_THROWS_CODE(scalar.score({tokens()}, false, control), "WRONG_HEAD");
  CHECK_THROWS_CODE(scalar.generate({}, control), "WRONG_HEAD");
  CHECK_THROWS_CODE(scalar.forward_backward({}, {}, control), "WRONG_HEAD");
  LossArgs value;
  value.kind = LossKind::value;
  CHECK_THROWS_CODE(Engine(language_config(), {}, 1, 0.1f).forward_backward({}, value, control), "WRONG_HEAD");
  Engine language(language_config(), {}, 1, 0.1f);
  CHECK_THROWS_CODE(language.values({tokens(), {0}}, control), "WRONG_HEAD");
}

TEST(scalar_losses_are_the_same_bits_everywhere) {
  constexpr int64_t T = 37, P = 18;
  const Floats values = random_floats(T, 1, -2, 2), returns = random_floats(T, 2), old = random_floats(T, 3, -2, 2);
  const Floats weights = random_floats(T, 4, 0, 1), margins = random_floats(P, 5, 0, 2);
  SAME_EVERYWHERE([&](const Kernels& kernels, ThreadPool&) {
    Floats out(static_cast<size_t>(T + 2 * P));
    ValueSums sums;
    kernels.value_loss(sums, out.data(), {values.data(), returns.data(), weights.data(), old.data()}, 0.5f, T);
    PairSums pairs;
    kernels.bradley_terry_loss(pairs, out.data() + T, {values.data(), margins.data(), weights.data(), P}, 0.01f);
    for (const double sum : {sums.loss, sums.squared_errors, pairs.loss}) out.push_back(static_cast<float>(sum));
    return out;
  });
}

TEST(scalar_gradients_do_not_depend_on_the_cut) {
  TrainArgs args;
  args.tokens = {random_ints(100, 3, 45), {0, 30, 31, 60, 100}};
  args.weights.assign(100, 0.01f);
  for (const size_t first : {0u, 30u, 31u, 60u}) args.weights[first] = 0.0f;
  args.returns = random_floats(100, 7);
  args.old_values = random_floats(100, 8);
  args.pair_weights = {0.5f, 0.25f};
  args.margins = {0.1f, 0.0f};
  args.scored = {29, 30, 45, 99};
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const LossKind kind : {LossKind::value, LossKind::bradley_terry}) {
      LossArgs loss;
      loss.kind = kind;
      loss.value_clip = 0.2f;
      loss.center_coef = 0.01f;
      std::vector<Floats> gradients;
      for (const int64_t micro_batch_tokens : {1, 1000}) {
        EngineConfig config = config_of(dtype, micro_batch_tokens);
        config.trainable = true;
        Engine engine(config, {}, 1, 0.1f);
        Control control;
        const LossSums sums = engine.forward_backward(args, loss, control);
        CHECK(sums.loss > 0);
        Floats all;
        for (const Parameter& p : engine.parameters().all()) append(all, engine.gradient(p.name));
        gradients.push_back(all);
        engine.step({1e-3});
      }
      CHECK_BITS(gradients[0], gradients[1]);
    }
}

TEST(scalar_values_stop_when_aborted) {
  Engine engine(config_of(DType::f32), {}, 1, 0.1f);
  Control control;
  control.aborted = true;
  CHECK_THROWS_CODE(engine.values({tokens(), {0}}, control), "ABORTED");
}

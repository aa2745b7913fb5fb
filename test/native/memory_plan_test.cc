// The memory plan against the bytes that an engine then holds, and what leaves 64 bits.
#include "runtime/memory_plan.h"

#include "harness.h"

namespace {

using namespace zazen;

EngineConfig small_config(DType dtype, bool recompute) {
  EngineConfig c;
  c.spec.vocab = 45;
  c.spec.hidden = 24;
  c.spec.intermediate = 40;
  c.spec.layers = 5;
  c.spec.heads = 4;
  c.spec.kv_heads = 2;
  c.spec.head_dim = 6;
  c.spec.max_positions = 100;
  c.spec.rope_frequencies = {1.0f, 0.1f, 0.01f};
  c.spec.windows = {0, 0, 0, 0, 0};
  c.spec.dtype = dtype;
  c.moments = dtype;
  c.threads = 1;
  c.micro_batch_tokens = 64;
  c.kv_bytes = 1 << 20;
  c.reference = true;
  c.recompute = recompute;
  return c;
}

TrainArgs train_args() {
  TrainArgs args;
  args.tokens.cu = {0, 70, 71, 100};
  for (int32_t i = 0; i < 100; ++i) args.tokens.ids.push_back(i % 45);
  args.weights.assign(100, 0.01f);
  for (const int32_t first : {0, 70, 71}) args.weights[static_cast<size_t>(first)] = 0.0f;
  return args;
}

}  // namespace

TEST(memory_plan_is_what_is_kept) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const EngineConfig config = small_config(dtype, false);
    const auto account = std::make_shared<MemoryAccount>();
    {
      const Accounting accounting(account);
      const Engine engine(config, {}, 1, 0.1f);
      CHECK_NEAR(static_cast<double>(account->bytes), static_cast<double>(plan_memory(config, {}).total()), 0.02);
    }
    CHECK(account->bytes == 0);
  }
}

TEST(memory_plan_covers_a_step_and_the_next_allocates_nothing) {
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const bool recompute : {false, true}) {
      const EngineConfig config = small_config(dtype, recompute);
      const auto account = std::make_shared<MemoryAccount>();
      const Accounting accounting(account);
      Engine engine(config, {}, 1, 0.1f);
      Control control;
      const TrainArgs args = train_args();
      engine.forward_backward(args, {}, control);
      engine.step({1e-3});
      const double planned = static_cast<double>(plan_memory(config, {{100, 70, 3}, {}, {}}).total());
      CHECK_NEAR(static_cast<double>(account->peak), planned, 0.1);
      const int64_t allocations = account->allocations;
      engine.forward_backward(args, {}, control);
      engine.step({1e-3});
      CHECK(account->allocations == allocations);
    }
}

TEST(memory_plan_covers_pairs_that_stay_together) {
  for (const int64_t budget : {1, 64, 1000}) {
    EngineConfig config = small_config(DType::f32, false);
    config.micro_batch_tokens = budget;
    TrainArgs args = train_args();
    args.tokens.cu = {0, 50, 100};
    args.weights.assign(100, 1.0f);
    args.weights[0] = args.weights[50] = 0.0f;
    args.reference.assign(100, -1.0f);
    args.pair_weights = {1.0f};
    LossArgs loss;
    loss.kind = LossKind::dpo;
    loss.dpo = {0.1f};
    const auto account = std::make_shared<MemoryAccount>();
    const Accounting accounting(account);
    Engine engine(config, {}, 1, 0.1f);
    engine.reserve({{100, 50, 2, 2}, {}, {}});
    const int64_t allocations = account->allocations;
    Control control;
    CHECK(engine.forward_backward(args, loss, control).pairs.pairs == 1);
    engine.step({1e-3});
    CHECK(account->allocations == allocations);
  }
}

void check_adapters(const LoraSpec& lora) {
  EngineConfig config = small_config(DType::bf16, false);
  config.spec.lora = lora;
  config.spec.tied = true;
  const auto account = std::make_shared<MemoryAccount>();
  const Accounting accounting(account);
  Engine engine(config, {}, 1, 0.1f);
  engine.reserve({{100, 70, 3}, {100, 70, 3}, {{2, 9, 3, 5}}});
  const MemoryPlan plan = plan_memory(config, {{100, 70, 3}, {100, 70, 3}, {{2, 9, 3, 5}}});
  CHECK_NEAR(static_cast<double>(account->bytes), static_cast<double>(plan.total()), 0.02);
  CHECK(plan.reference == 0);
  CHECK(plan.masters == engine.parameters().trained_elements() * dtype_bytes(DType::f32));
  const int64_t allocations = account->allocations;
  Control control;
  engine.forward_backward(train_args(), {}, control);
  engine.step({1e-3});
  engine.score({train_args().tokens}, true, control);
  CHECK(account->allocations == allocations);
}

TEST(memory_plan_with_adapters_counts_what_is_trained) {
  check_adapters({2, 1.0f, {"model.layers.0.self_attn.q_proj", "model.layers.4.mlp.down_proj"}, {"lm_head"}});
  check_adapters({2, 1.0f, {"model.layers.0.self_attn.q_proj"}, {"model.norm"}});
  check_adapters({300, 1.0f, {"lm_head"}, {}});  // a rank above the width
}

TEST(memory_plan_recomputed_gradients_have_the_same_bits) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    Control control;
    std::vector<float> wanted;
    for (const bool recompute : {false, true}) {
      Engine engine(small_config(dtype, recompute), {}, 1, 0.1f);
      engine.forward_backward(train_args(), {}, control);
      for (const Parameter& p : engine.parameters().all()) {
        const std::vector<float> gradient = engine.gradient(p.name);
        if (recompute) CHECK_BITS(gradient, std::vector<float>(wanted.begin(), wanted.begin() + p.count()));
        if (recompute)
          wanted.erase(wanted.begin(), wanted.begin() + p.count());
        else
          wanted.insert(wanted.end(), gradient.begin(), gradient.end());
      }
    }
  }
}

TEST(memory_plan_refuses_what_leaves_64_bits_or_the_limit) {
  EngineConfig config = small_config(DType::f32, false);
  config.memory_limit = 1000;
  CHECK_THROWS_CODE(Engine(config, {}, 1, 0.1f), "MEMORY_PLAN");
  config.spec.intermediate = int64_t{1} << 30;
  config.spec.hidden = int64_t{1} << 28;
  CHECK_THROWS_CODE(plan_memory(config, {{INT32_MAX, INT32_MAX, 0}, {}, {}}), "TOO_LARGE");
  config.spec.heads = int64_t{1} << 30;
  CHECK_THROWS_CODE(plan_memory(config, {}), "BAD_SPEC");
}

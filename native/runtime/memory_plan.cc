#include "runtime/memory_plan.h"

#include <algorithm>

namespace zazen {
namespace {

MicroBatchBound micro_batch(int64_t budget, const BatchBound& bound) {
  return bound_micro_batch(budget, bound.tokens, checked_product(bound.longest, bound.together), bound.sequences);
}

// Widens `size` to what a call of this bound lays out.
void cover(GenerateSize& size, const GenerateBound& call, const EngineConfig& c, const ParameterList& parameters) {
  const int64_t longest = call.longest(c.spec), samples = checked_product(call.prompts, call.samples);
  const PoolSize pool = Scheduler::bound(c.spec, parameters, c.threads, c.kv_bytes, c.micro_batch_tokens, call);
  // Prompts and what gave way go together up to a micro-batch, longer ones in pieces; then a token of every running sample.
  const int64_t computed = pool.scarce ? checked_product(samples, longest) : checked_product(call.prompts, call.prompt_tokens);
  const int64_t prefill = std::min(c.micro_batch_tokens, computed);
  size.rows = std::max({size.rows, prefill, std::min(pool.most, samples)});
  size.draws = std::max(size.draws, samples);  // first tokens of all prompts that begin
  size.kv_blocks = std::max(size.kv_blocks, pool.blocks);
}

// What is kept whatever is asked for.
MemoryPlan kept(const EngineConfig& c, const ParameterList& parameters) {
  const ModelSpec& s = c.spec;
  const int64_t trained = parameters.trained_elements();
  MemoryPlan plan;
  plan.weights = checked_product(parameters.elements(), dtype_bytes(s.dtype));
  if (c.reference && s.lora.rank == 0) plan.reference = plan.weights;
  if (!c.trainable) return plan;
  if (s.dtype != DType::f32) plan.masters = checked_product(trained, dtype_bytes(DType::f32));
  if (has_reference_masters(c)) plan.reference = checked_sum(plan.reference, plan.masters);
  plan.gradients = Trainer::gradient_bytes(s, parameters);
  plan.moments = checked_product(2 * dtype_bytes(c.moments), trained);
  return plan;
}

}  // namespace

WorkloadSize measure(const EngineConfig& c, const ParameterList& parameters, const Workload& workload) {
  const auto& [train, score, generate] = workload;
  WorkloadSize size;
  if (c.trainable && train.tokens > 0) {
    const int64_t useful = Transformer::useful_rows(c.spec, parameters, c.threads);
    size.train = micro_batch(std::min(c.micro_batch_tokens, useful), train);
    size.positions = train.longest;
  }
  if (score.tokens > 0) {
    size.score = micro_batch(c.micro_batch_tokens, score);
    size.positions = std::max(size.positions, score.longest);
    if (c.reference && c.spec.lora.rank > 0) size.base_positions = std::min(score.longest, c.spec.max_positions);
  }
  for (const GenerateBound& call : generate) {
    cover(size.generate, call, c, parameters);
    size.positions = std::max(size.positions, call.longest(c.spec));
  }
  size.positions = std::min(size.positions, c.spec.max_positions);
  return size;
}

int64_t MemoryPlan::total() const {
  int64_t sum = 0;
  for (const int64_t part : {weights, masters, reference, gradients, moments, activations, head, kv, workspace})
    sum = checked_sum(sum, part);
  return sum;
}

MemoryPlan plan_memory(const EngineConfig& config, const Workload& workload) {
  const ModelSpec& s = config.spec;
  const ParameterList parameters(s);
  const auto [train, score, generate, positions, base_positions] = measure(config, parameters, workload);
  MemoryPlan plan = kept(config, parameters);
  const auto add = [](int64_t& sum, int64_t bytes) { sum = checked_sum(sum, bytes); };
  if (train.rows > 0) {
    add(plan.activations, Activations::bytes(s, train.rows, train.kv_blocks, true, config.recompute));
    add(plan.workspace, GradientWorkspace::bytes(s, train.rows));
    add(plan.head, HeadWorkspace::bytes(s, train.rows));
  }
  if (score.rows > 0) {
    add(plan.activations, Activations::bytes(s, score.rows, score.kv_blocks, false));
    add(plan.head, HeadWorkspace::bytes(s, score.rows));
  }
  if (generate.rows > 0) {
    add(plan.activations, Activations::bytes(s, generate.rows, 0, false));
    add(plan.head, HeadWorkspace::bytes(s, generate.draws));
    plan.kv = checked_product(generate.kv_blocks, KvPool::block_bytes(s));
  }
  add(plan.workspace, Transformer::angle_bytes(s, positions) + Transformer::angle_bytes(s, base_positions));
  plan.total();  // checked
  return plan;
}

}  // namespace zazen

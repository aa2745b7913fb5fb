#include "runtime/trainer.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace zazen {
namespace {

constexpr int64_t kZeroChunk = 1 << 18;  // elements a thread clears at a time
constexpr int64_t kNormChunk = 4096;     // of sum_squares
constexpr double kClipEpsilon = 1e-6;    // as torch.nn.utils.clip_grad_norm_

void zero(ThreadPool& pool, Buffer<float>& buffer) {
  const int64_t size = static_cast<int64_t>(buffer.size());
  parallel_for(pool, ceil_div(size, kZeroChunk), [&](int64_t i) {
    std::fill_n(buffer.data() + i * kZeroChunk, std::min(kZeroChunk, size - i * kZeroChunk), 0.0f);
  });
}

// Elements with the same weight decay that lie together, both as weights and as gradients.
struct Run {
  int64_t weight, first, count;
  double weight_decay;
};

// Matrices decay, vectors do not. Neighbours are joined: a small model's optimizer step is one call.
std::vector<Run> decay_runs(const ParameterList& parameters, double weight_decay) {
  std::vector<Run> runs;
  for (const auto& p : parameters.trained()) {
    const double decay = p.is_matrix() ? weight_decay : 0.0;
    if (runs.empty() || runs.back().weight_decay != decay) runs.push_back({p.offset, p.gradient, 0, decay});
    runs.back().count = p.gradient + p.elements - runs.back().first;
  }
  return runs;
}

void take(Buffer<float>& to, const std::vector<float>& from, const std::vector<int64_t>& tokens) {
  if (from.empty()) return;
  for (size_t i = 0; i < tokens.size(); ++i) to[i] = from[static_cast<size_t>(tokens[i])];
}

bool has_pairs(const LossArgs& loss) { return loss.kind == LossKind::dpo || loss.kind == LossKind::bradley_terry; }

// Whether a token's loss depends on other tokens of its sequence, or of its pair of sequences.
bool needs_sequences(const LossArgs& loss) {
  return has_pairs(loss) || (loss.kind == LossKind::policy && loss.policy.ratio == RatioLevel::sequence);
}

constexpr int64_t kPair = 2;  // sequences
// Sequences that a loss does not cut apart.
int64_t together(const LossArgs& loss) { return has_pairs(loss) ? kPair : 1; }

}  // namespace

Trainer::Trainer(const Transformer& model, int64_t micro_batch_tokens, DType moments, bool recompute)
    : model_(model), micro_batch_tokens_(micro_batch_tokens), recompute_(recompute) {
  const int64_t elements = model.parameters().trained_elements();
  gradients_.reset(static_cast<size_t>(elements));
  m_.reset(moments, elements);
  v_.reset(moments, elements);
  if (model.parameters().is_gradient_tied()) tied_.reset(static_cast<size_t>(model.spec().vocab * model.spec().hidden));
  norm_scratch_.reset(static_cast<size_t>(ceil_div(elements, kNormChunk)));
}

int64_t Trainer::gradient_bytes(const ModelSpec& spec, const ParameterList& parameters) {
  const int64_t elements = parameters.trained_elements(), tied = parameters.is_gradient_tied() ? spec.vocab * spec.hidden : 0;
  const int64_t scratch = ceil_div(elements, kNormChunk) * static_cast<int64_t>(sizeof(double));
  return checked_sum(checked_product(checked_sum(elements, tied), dtype_bytes(DType::f32)), scratch);
}

void Trainer::reserve(const MicroBatchBound& bound) {
  activations_.plan(model_.spec(), bound.rows, bound.kv_blocks, true, recompute_);
  workspace_.plan(model_.spec(), bound.rows);
  head_.plan(model_.spec(), bound.rows);
}

LossSums Trainer::forward_backward(TensorView weights, const TrainArgs& args, const LossArgs& loss, Control& control) {
  LossSums sums;
  const int64_t budget = std::min(micro_batch_tokens_, model_.useful_rows());
  for (const auto& [first, last] : cut_sequences(args.tokens, budget, together(loss))) {
    throw_if_aborted(control);
    train(weights, args, loss, lay_out(args.tokens, first, last), sums);
  }
  throw_if_aborted(control);
  return sums;
}

void Trainer::throw_if_aborted(const Control& control) {
  if (control.aborted.load(std::memory_order_relaxed)) clear();
  control.throw_if_aborted("forwardBackward");
}

void Trainer::train(TensorView weights, const TrainArgs& args, const LossArgs& loss, const MicroBatch& batch, LossSums& sums) {
  const int64_t T = batch.rows.count();
  if (T == 0) return;
  activations_.plan(model_.spec(), T, batch.kv_blocks, true, recompute_);
  workspace_.plan(model_.spec(), T);
  model_.forward(weights, batch.rows, activations_, activations_.kv());
  train_head(weights, args, loss, batch, sums);
  const Parameter& table = model_.parameters().embedding();
  float* embedding = table.is_trained() ? gradients_.data() + table.gradient : nullptr;
  if (model_.parameters().is_gradient_tied()) embedding = tied_.data();
  model_.backward(weights, gradients_.data(), embedding, batch.rows, activations_, workspace_);
}

Trainer::HeadRows Trainer::head_rows(const TrainArgs& args, const MicroBatch& batch) {
  HeadRows head;
  head.first_sequence = batch.first_sequence;
  for (const Span& span : batch.rows.spans) {
    for (int64_t r = span.row + 1; r < span.row + span.count; ++r) {
      const auto token = static_cast<size_t>(batch.first_token + r);
      if (args.weights[token] == 0.0f) continue;
      head.tokens.push_back(static_cast<int64_t>(token));
      head.rows.push_back(static_cast<int32_t>(r - 1));
      head.targets.push_back(args.tokens.ids[token]);
    }
    head.sequences.push_back(static_cast<int32_t>(head.count()));
  }
  return head;
}

Trainer::HeadRows Trainer::scored_rows(const TrainArgs& args, const MicroBatch& batch) {
  HeadRows head;
  head.first_sequence = batch.first_sequence;
  for (size_t s = 0; s < batch.rows.spans.size(); ++s) {
    const int64_t token = args.scored[static_cast<size_t>(batch.first_sequence) + s];
    head.tokens.push_back(token);
    head.rows.push_back(static_cast<int32_t>(token - batch.first_token));
    head.targets.push_back(0);
    head.sequences.push_back(static_cast<int32_t>(head.count()));
  }
  return head;
}

// Fills workspace.normed() and the head's gradient, a chunk of rows at a time. A loss of whole sequences needs the log-probs of
// all chunks first; then a chunk's logits are computed twice, unless there is but one. It has a value without any rows, too.
void Trainer::train_head(TensorView weights, const TrainArgs& args, const LossArgs& loss, const MicroBatch& batch,
                         LossSums& sums) {
  const HeadRows head = loss.kind == LossKind::bradley_terry ? scored_rows(args, batch) : head_rows(args, batch);
  const int64_t count = head.count(), chunk = head_chunk_rows(model_.spec());
  const bool apart = needs_sequences(loss) && (count > chunk || count == 0);
  std::fill_n(workspace_.normed(), batch.rows.count() * model_.spec().hidden, 0.0f);
  head_.plan(model_.spec(), count);
  take(head_.weights, args.weights, head.tokens);
  take(head_.advantages, args.advantages, head.tokens);
  take(head_.old, loss.kind == LossKind::value ? args.old_values : args.old, head.tokens);
  take(head_.returns, args.returns, head.tokens);
  take(head_.reference, args.reference, head.tokens);
  take(head_.sampler, args.sampler, head.tokens);
  take(head_.importance, args.importance, head.tokens);
  for (int64_t first = 0; apart && first < count; first += chunk)
    head_forward(weights, loss, head, first, std::min(chunk, count - first));
  if (apart) token_loss(args, loss, head, 0, count, sums);
  for (int64_t first = 0; first < count; first += chunk) {
    const int64_t R = std::min(chunk, count - first);
    head_forward(weights, loss, head, first, R);
    if (!apart) token_loss(args, loss, head, first, R, sums);
    head_backward(weights, loss, head, first, R);
  }
}

// Logits, log-probs and entropies of rows [first, first + R), or a scalar head's outputs.
void Trainer::head_forward(TensorView weights, const LossArgs& loss, const HeadRows& head, int64_t first, int64_t R) {
  const ModelSpec& spec = model_.spec();
  head_logits(model_, weights, activations_.normed(), head.rows.data() + first, R, head_);
  if (spec.scalar) return head_outputs(spec, head_, head_.logp.data() + first, R);
  model_.kernels().head_forward(model_.pool(), head_.logits.data(), spec.padded_outputs(), head.targets.data() + first,
                                loss.temperature, head_.logp.data() + first, head_.lse.data() + first,
                                head_.entropy.data() + first, R, spec.vocab);
}

// From dlogp and dentropy of rows [first, first + R), whose logits are there.
void Trainer::head_backward(TensorView weights, const LossArgs& loss, const HeadRows& head, int64_t first, int64_t R) {
  const Kernels& k = model_.kernels();
  const int64_t H = model_.spec().hidden, V = model_.spec().outputs(), ld = model_.spec().padded_outputs();
  const bool entropy_gradient = loss.kind == LossKind::policy && loss.policy.entropy_coef != 0.0f;
  if (model_.spec().scalar)
    set_head_outputs(model_.spec(), head_, head_.dlogp.data() + first, R);
  else
    k.head_backward(model_.pool(), head_.logits.data(), ld, head.targets.data() + first, head_.lse.data() + first,
                    head_.entropy.data() + first, head_.dlogp.data() + first,
                    entropy_gradient ? head_.dentropy.data() + first : nullptr, loss.temperature, R, V);
  const LinearParameters& weight = model_.parameters().head();
  if (weight.is_trained())
    k.linear_backward_weight(model_.pool(), gradients_.data() + weight.gradient, head_.logits.data(), ld, head_.hidden.view(),
                             H, R, V, H);
  times_head_rows(head_.dhidden.data(), weights, weight, R);
  if (weight.is_adapted()) head_backward_adapter(weights, R);
  k.scatter_rows(model_.pool(), workspace_.normed(), head_.dhidden.data(), head.rows.data() + first, R, H);
}

// out [R, K] = dlogits [R, V] W, W [V, K], with a piece of W transposed at a time.
void Trainer::times_head_rows(float* out, TensorView weights, const Parameter& w, int64_t R) {
  const Kernels& k = model_.kernels();
  const int64_t K = w.columns, V = w.rows, ld = model_.spec().padded_outputs();
  for (int64_t first = 0; first < V; first += GradientWorkspace::kHeadRows) {
    const int64_t count = std::min(GradientWorkspace::kHeadRows, V - first);
    k.weight_transpose(model_.pool(), workspace_.transposed(), weights + w.offset, first, count, K);
    k.linear_forward(model_.pool(), out, K, head_.logits.data() + first, ld, workspace_.transposed(), R, K, count, first > 0);
  }
}

// dB += dlogits^T (scale * A h), dA += (scale * dlogits B)^T h, dhidden += (scale * dlogits B) A.
void Trainer::head_backward_adapter(TensorView weights, int64_t R) {
  const Kernels& k = model_.kernels();
  const Parameter &a = model_.parameters().head().a, &b = model_.parameters().head().b;
  const int64_t H = model_.spec().hidden, V = model_.spec().outputs(), ld = model_.spec().padded_outputs(), rank = a.rows;
  float* dlow = head_.lora_low.data();
  times_head_rows(dlow, weights, b, R);
  k.scale(model_.pool(), dlow, dlow, model_.spec().lora.scale, R * rank);
  k.linear_backward_weight(model_.pool(), gradients_.data() + b.gradient, head_.logits.data(), ld, head_.lora.view(), rank, R,
                           V, rank);
  k.linear_backward_weight(model_.pool(), gradients_.data() + a.gradient, dlow, rank, head_.hidden.view(), H, R, rank, H);
  k.weight_transpose(model_.pool(), workspace_.transposed(), weights + a.offset, 0, rank, H);
  k.linear_forward(model_.pool(), head_.dhidden.data(), H, dlow, rank, workspace_.transposed(), R, H, rank, true);
}

// The loss of rows [first, first + R): all of them when it needs whole sequences.
void Trainer::token_loss(const TrainArgs& args, const LossArgs& loss, const HeadRows& head, int64_t first, int64_t R,
                         LossSums& sums) {
  if (loss.kind == LossKind::policy) return policy_loss(args, loss, head, first, R, sums);
  if (loss.kind == LossKind::value) return value_loss(args, loss, first, R, sums);
  if (loss.kind == LossKind::bradley_terry) return bradley_terry_loss(args, loss, head, sums);
  if (loss.kind == LossKind::dpo) pair_loss(args, loss, head, sums);
  for (int64_t r = first; r < first + R; ++r) {
    const auto i = static_cast<size_t>(r);
    sums.entropy += static_cast<double>(head_.entropy[i]);
    if (loss.kind != LossKind::sft) continue;
    sums.loss -= static_cast<double>(head_.weights[i]) * static_cast<double>(head_.logp[i]);
    head_.dlogp[i] = -head_.weights[i];
  }
  sums.tokens += R;
}

void Trainer::policy_loss(const TrainArgs& args, const LossArgs& loss, const HeadRows& head, int64_t first, int64_t R,
                          LossSums& sums) {
  const auto optional = [&](const std::vector<float>& given, const Buffer<float>& taken) {
    return given.empty() ? nullptr : taken.data() + first;
  };
  PolicyLossInputs in{head_.logp.data() + first, head_.old.data() + first, head_.advantages.data() + first,
                      head_.weights.data() + first};
  in.ref = optional(args.reference, head_.reference);
  in.entropy = head_.entropy.data() + first;
  in.sampler = optional(args.sampler, head_.sampler);
  in.importance = optional(args.importance, head_.importance);
  in.cu_tokens = head.sequences.data();
  in.sequences = head.sequence_count();
  model_.kernels().policy_loss(sums, head_.dlogp.data() + first, head_.dentropy.data() + first, in, loss.policy, R);
}

// Of all rows: pairs begin with the micro-batch's first sequence.
void Trainer::pair_loss(const TrainArgs& args, const LossArgs& loss, const HeadRows& head, LossSums& sums) {
  const DpoLossInputs in{head_.logp.data(),
                         head_.reference.data(),
                         head_.weights.data(),
                         head.sequences.data(),
                         args.pair_weights.data() + head.first_sequence / kPair,
                         head.sequence_count() / kPair};
  model_.kernels().dpo_loss(sums.pairs, head_.dlogp.data(), in, loss.dpo);
  sums.loss = sums.pairs.loss;
}

// The same.
void Trainer::bradley_terry_loss(const TrainArgs& args, const LossArgs& loss, const HeadRows& head, LossSums& sums) {
  const int64_t first = head.first_sequence / kPair;
  const BradleyTerryInputs in{head_.logp.data(), args.margins.empty() ? nullptr : args.margins.data() + first,
                              args.pair_weights.data() + first, head.sequence_count() / kPair};
  model_.kernels().bradley_terry_loss(sums.pairs, head_.dlogp.data(), in, loss.center_coef);
  sums.loss = sums.pairs.loss;
}

void Trainer::value_loss(const TrainArgs& args, const LossArgs& loss, int64_t first, int64_t R, LossSums& sums) {
  const ValueLossInputs in{head_.logp.data() + first, head_.returns.data() + first, head_.weights.data() + first,
                           args.old_values.empty() ? nullptr : head_.old.data() + first};
  model_.kernels().value_loss(sums.value, head_.dlogp.data() + first, in, loss.value_clip, R);
  sums.loss = sums.value.loss;
}

// Moves the embedding's share [V, H] into the head's panels, a panel a task.
void Trainer::join_tied_gradient() {
  if (tied_.size() == 0) return;
  const int64_t V = model_.spec().vocab, H = model_.spec().hidden;
  const int64_t depth = model_.parameters().head().depth;
  float* head = gradients_.data() + model_.parameters().head().gradient;
  parallel_for(model_.pool(), ceil_div(V, kPanel), [&](int64_t panel) {
    for (int64_t v = panel * kPanel; v < std::min(V, (panel + 1) * kPanel); ++v)
      for (int64_t h = 0; h < H; ++h) head[panel_index(v, h, depth)] += tied_[static_cast<size_t>(v * H + h)];
  });
  zero(model_.pool(), tied_);
}

OptimResult Trainer::step(const WeightStore& store, const OptimArgs& args) {
  const Kernels& k = model_.kernels();
  join_tied_gradient();
  const int64_t elements = model_.parameters().trained_elements();  // padding is zero
  const double squares = k.sum_squares(model_.pool(), gradients_.data(), elements, norm_scratch_.data());
  const double norm = std::sqrt(squares);
  if (!std::isfinite(norm)) clear();
  ZAZEN_CHECK(std::isfinite(norm), "GRADIENT_NOT_FINITE", "[optimStep] expected a finite gradient, got norm ", norm,
              "; lower the learning rate, or look at the last batch");
  ++step_;
  AdamwArgs adamw{args.learning_rate, args.beta1, args.beta2, args.eps, 0.0, 1.0, 1.0, 1.0, step_, 0};
  adamw.bias1 = 1.0 - std::pow(args.beta1, static_cast<double>(step_));
  adamw.bias2 = 1.0 - std::pow(args.beta2, static_cast<double>(step_));
  const double clip = args.max_grad_norm / (norm + kClipEpsilon);
  if (args.max_grad_norm > 0 && clip < 1.0) adamw.gradient_scale = clip;
  for (const Run& run : decay_runs(model_.parameters(), args.weight_decay)) {
    adamw.weight_decay = run.weight_decay;
    adamw.first = run.first;
    float* weights = store.master ? store.master + run.first : store.weights.as<float>() + run.weight;
    k.adamw(model_.pool(), weights, gradients_.data() + run.first, m_.ref() + run.first, v_.ref() + run.first, run.count,
            adamw);
  }
  if (store.master) round_weights(model_, store);
  return {norm, step_};
}

void round_weights(const Transformer& model, const WeightStore& store) {
  for (const Parameter& p : model.parameters().trained())
    model.kernels().weight_round(model.pool(), store.weights + p.offset, store.master + p.gradient, p.elements, p.is_panels());
}

std::vector<float> Trainer::gradient(const Parameter& p) const {
  std::vector<float> out(static_cast<size_t>(p.count()));
  ZAZEN_CHECK(p.is_trained(), "PARAMETER_FROZEN", "[gradient] expected a parameter that is trained, got \"", p.name,
              "\", which adapters leave as it is; ask for theirs");
  const bool tied = tied_.size() > 0 && p.offset == model_.parameters().head().offset;
  for (int64_t i = 0; i < p.count(); ++i)
    out[static_cast<size_t>(i)] =
        gradients_[static_cast<size_t>(p.trained_at(i))] + (tied ? tied_[static_cast<size_t>(i)] : 0.0f);
  return out;
}

void Trainer::clear() {
  zero(model_.pool(), gradients_);
  zero(model_.pool(), tied_);
}

}  // namespace zazen

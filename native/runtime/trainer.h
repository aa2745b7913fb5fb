// Gradients of a loss over packed sequences, and the optimizer step.
#pragma once

#include <vector>

#include "model/checkpoint.h"
#include "model/head.h"
#include "runtime/control.h"
#include "runtime/micro_batch.h"

namespace zazen {

// The last two are of scalar heads.
enum class LossKind { sft, policy, dpo, value, bradley_terry };
inline bool is_scalar(LossKind kind) { return kind == LossKind::value || kind == LossKind::bradley_terry; }

struct LossArgs {
  LossKind kind = LossKind::sft;
  float temperature = 1.0f;
  PolicyLossArgs policy{};
  DpoLossArgs dpo{};
  float value_clip = 0.0f, center_coef = 0.0f;
};

// `pairs` of losses of pairs and `value` of the value loss, whose loss is in `loss` as well.
struct LossSums : PolicyLossSums {
  PairSums pairs;
  ValueSums value;
};

// Entry i of each array [T] belongs to token i. Tokens of weight 0 take no part; the first of a sequence has weight 0. The row
// before a token predicts it, and has the value that its return is compared with. Bradley-Terry has no use for weights.
struct TrainArgs {
  PackedTokens tokens;
  std::vector<float> weights;                     // [T]
  std::vector<float> advantages, old, reference;  // [T], as the loss asks for
  std::vector<float> sampler, importance;         // [T], or empty
  std::vector<float> pair_weights;                // [S / 2], of losses of pairs
  std::vector<float> returns, old_values;         // [T], of the value loss; old_values may be empty where there is no clip
  std::vector<float> margins;                     // [S / 2] of Bradley-Terry, or empty
  std::vector<int32_t> scored;                    // [S] of Bradley-Terry: places of the tokens that bear the scores
};

struct OptimArgs {
  double learning_rate = 0, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0, max_grad_norm = 0;
};

struct OptimResult {
  double grad_norm;
  int64_t step;
};

// bf16 weights from their masters, rounded to nearest.
void round_weights(const Transformer& model, const WeightStore& store);

class Trainer {
 public:
  // With `recompute` a layer's activations are computed again in the backward pass, with the same bits, instead of kept.
  Trainer(const Transformer& model, int64_t micro_batch_tokens, DType moments, bool recompute);

  // Of the sums of gradients and what they are joined and measured with.
  static int64_t gradient_bytes(const ModelSpec& spec, const ParameterList& parameters);

  // Room for micro-batches of up to these sizes.
  void reserve(const MicroBatchBound& bound);

  // Adds to the gradients. When aborted, throws ABORTED and clears them.
  LossSums forward_backward(TensorView weights, const TrainArgs& args, const LossArgs& loss, Control& control);
  // Clips, steps AdamW and clears the gradients. A gradient that is not finite is GRADIENT_NOT_FINITE: it is cleared, and
  // weights and moments stay as they were.
  // bf16 weights are rounded anew from their masters.
  OptimResult step(const WeightStore& store, const OptimArgs& args);

  // What the optimizer keeps from step to step, beside the weights: its moments by name, and the steps taken. Gradients are no
  // part.
  std::vector<StateBuffer> state() { return {{"exp_avg", m_.ref()}, {"exp_avg_sq", v_.ref()}}; }
  int64_t steps() const { return step_; }
  void set_steps(int64_t steps) { step_ = steps; }

  // Gradient of one parameter in row-major order, the tied embedding's share included.
  std::vector<float> gradient(const Parameter& parameter) const;
  void clear();

 private:
  // The rows of a micro-batch whose token has a weight: row rows[i] predicts targets[i]. Of Bradley-Terry the rows of the
  // tokens that bear the scores, which predict nothing.
  struct HeadRows {
    std::vector<int64_t> tokens;         // into the packed tokens
    std::vector<int32_t> rows, targets;  // rows of the micro-batch
    std::vector<int32_t> sequences{0};   // of sequence s: sequences[s] .. sequences[s + 1]
    int64_t first_sequence = 0;          // of the packed tokens
    int64_t count() const { return static_cast<int64_t>(rows.size()); }
    int64_t sequence_count() const { return static_cast<int64_t>(sequences.size()) - 1; }
  };
  static HeadRows head_rows(const TrainArgs& args, const MicroBatch& batch);
  static HeadRows scored_rows(const TrainArgs& args, const MicroBatch& batch);

  void train(TensorView weights, const TrainArgs& args, const LossArgs& loss, const MicroBatch& batch, LossSums& sums);
  void train_head(TensorView weights, const TrainArgs& args, const LossArgs& loss, const MicroBatch& batch, LossSums& sums);
  void head_forward(TensorView weights, const LossArgs& loss, const HeadRows& head, int64_t first, int64_t R);
  void head_backward(TensorView weights, const LossArgs& loss, const HeadRows& head, int64_t first, int64_t R);
  void times_head_rows(float* out, TensorView weights, const Parameter& w, int64_t R);
  void head_backward_adapter(TensorView weights, int64_t R);
  void token_loss(const TrainArgs& args, const LossArgs& loss, const HeadRows& head, int64_t first, int64_t R, LossSums& sums);
  void policy_loss(const TrainArgs& args, const LossArgs& loss, const HeadRows& head, int64_t first, int64_t R, LossSums& sums);
  void pair_loss(const TrainArgs& args, const LossArgs& loss, const HeadRows& head, LossSums& sums);
  void bradley_terry_loss(const TrainArgs& args, const LossArgs& loss, const HeadRows& head, LossSums& sums);
  void value_loss(const TrainArgs& args, const LossArgs& loss, int64_t first, int64_t R, LossSums& sums);
  void throw_if_aborted(const Control& control);
  void join_tied_gradient();

  const Transformer& model_;
  int64_t micro_batch_tokens_;
  bool recompute_;
  int64_t step_ = 0;
  Buffer<float> gradients_;
  TensorBuffer m_, v_;
  Buffer<float> tied_;  // [V, H]: the embedding's share of a tied head's gradient
  Buffer<double> norm_scratch_;
  Activations activations_;
  GradientWorkspace workspace_;
  HeadWorkspace head_;
};

}  // namespace zazen

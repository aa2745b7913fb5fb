#include "runtime/scorer.h"

#include <algorithm>
#include <limits>

namespace zazen {

void Scorer::reserve(const ModelSpec& spec, const MicroBatchBound& bound) {
  activations_.plan(spec, bound.rows, bound.kv_blocks, false);
  head_.plan(spec, bound.rows);
}

Scores Scorer::run(const Transformer& model, TensorView weights, const ScoreArgs& args, Control& control) {
  const size_t T = args.tokens.ids.size();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Scores scores{std::vector<float>(T, nan), std::vector<float>(T, nan), std::vector<float>(T * static_cast<size_t>(args.top)),
                std::vector<int32_t>(T * static_cast<size_t>(args.top))};
  for (const auto& [first, last] : cut_sequences(args.tokens, micro_batch_tokens_)) {
    control.throw_if_aborted("logprobs");
    score(model, weights, args, lay_out(args.tokens, first, last), scores);
  }
  return scores;
}

void Scorer::score(const Transformer& model, TensorView weights, const ScoreArgs& args, const MicroBatch& batch,
                   Scores& scores) {
  const ModelSpec& spec = model.spec();
  const int64_t T = batch.rows.count(), chunk = head_chunk_rows(spec);
  if (T == 0) return;
  activations_.plan(spec, T, batch.kv_blocks, false);
  model.forward(weights, batch.rows, activations_, activations_.kv());

  // Row r predicts token r + 1 of its sequence; the last row of a sequence predicts nothing that is given.
  std::vector<int32_t> rows, targets;
  for (int64_t r = 0; r < T; ++r) {
    const bool last = r + 1 == T || batch.rows.positions[static_cast<size_t>(r) + 1] == 0;
    if (last && args.top == 0) continue;
    rows.push_back(static_cast<int32_t>(r));
    targets.push_back(last ? -1 : batch.rows.ids[static_cast<size_t>(r) + 1]);
  }
  const int64_t count = static_cast<int64_t>(rows.size());
  head_.plan(spec, count);
  for (int64_t first = 0; first < count; first += chunk) {
    const int64_t R = std::min(chunk, count - first);
    std::vector<int32_t> known(targets.begin() + first, targets.begin() + first + R);
    for (auto& id : known) id = std::max(id, 0);
    head_logits(model, weights, activations_.normed(), rows.data() + first, R, head_);
    model.kernels().head_forward(model.pool(), head_.logits.data(), spec.padded_outputs(), known.data(), args.temperature,
                                 head_.logp.data(), head_.lse.data(), head_.entropy.data(), R, spec.vocab);
    for (int64_t r = 0; r < R; ++r) {
      if (targets[static_cast<size_t>(first + r)] < 0) continue;
      const auto to = static_cast<size_t>(batch.first_token + rows[static_cast<size_t>(first + r)] + 1);
      scores.logp[to] = head_.logp[static_cast<size_t>(r)];
      scores.entropy[to] = head_.entropy[static_cast<size_t>(r)];
    }
    if (args.top > 0) {  // then every row is here, in order
      const int64_t to = (batch.first_token + first) * args.top;
      model.kernels().head_top(model.pool(), scores.top_ids.data() + to, scores.top_logp.data() + to, head_.logits.data(),
                               spec.padded_outputs(), head_.lse.data(), args.top, R, spec.vocab);
    }
  }
}

std::vector<float> Scorer::values(const Transformer& model, TensorView weights, const ValueArgs& args, Control& control) {
  const ModelSpec& spec = model.spec();
  std::vector<float> values(args.at.size());
  size_t next = 0;
  for (const auto& [first, last] : cut_sequences(args.tokens, micro_batch_tokens_)) {
    control.throw_if_aborted("values");
    const MicroBatch batch = lay_out(args.tokens, first, last);
    std::vector<int32_t> rows;
    for (size_t i = next; i < args.at.size() && args.at[i] < batch.first_token + batch.rows.count(); ++i)
      rows.push_back(static_cast<int32_t>(args.at[i] - batch.first_token));
    if (rows.empty()) continue;
    activations_.plan(spec, batch.rows.count(), batch.kv_blocks, false);
    if (!model.forward(weights, batch.rows, activations_, activations_.kv(), &control.aborted)) break;
    const int64_t count = static_cast<int64_t>(rows.size()), chunk = head_chunk_rows(spec);
    head_.plan(spec, count);
    for (int64_t begin = 0; begin < count; begin += chunk) {
      const int64_t R = std::min(chunk, count - begin);
      head_logits(model, weights, activations_.normed(), rows.data() + begin, R, head_);
      head_outputs(spec, head_, values.data() + next, R);
      next += static_cast<size_t>(R);
    }
  }
  control.throw_if_aborted("values");
  return values;
}

}  // namespace zazen

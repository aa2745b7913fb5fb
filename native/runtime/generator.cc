#include "runtime/generator.h"

#include <algorithm>

#include "core/rng.h"

namespace zazen {
struct Generator::Call {
  TensorView weights;
  const GenerateArgs& args;
  Control& control;
  std::vector<Sample> samples;
  std::vector<Sequence> active;
  std::vector<char> stops;  // [V]
  int64_t enough = 0;       // running samples at which no further prompt is taken
  int64_t next_prompt = 0;  // not yet admitted
  int64_t finished = 0, tokens = 0;
};

int64_t Generator::length_limit(const GenerateArgs& args, int64_t prompt) const {
  const auto p = static_cast<size_t>(prompt);
  const int64_t length = args.prompts.cu[p + 1] - args.prompts.cu[p];
  return std::min(length + args.max_tokens, model_.spec().max_positions);
}

// Blocks that a prompt and all its samples can take at most: whole prompt blocks once, the rest for every sample.
int64_t Generator::blocks_needed(const GenerateArgs& args, int64_t prompt) const {
  const auto p = static_cast<size_t>(prompt);
  const int64_t shared = (args.prompts.cu[p + 1] - args.prompts.cu[p]) / kKeyTile;
  return shared + args.samples * (ceil_div(length_limit(args, prompt), kKeyTile) - shared);
}

// Room for as many samples as run at once, and for those of any one prompt.
void Generator::reserve(Call& call) {
  const GenerateArgs& args = call.args;
  int64_t largest = 0, total = 0, longest = 1;  // blocks: of a prompt's samples, of all prompts', of one sample
  for (int64_t p = 0; p < args.prompts.sequences(); ++p) {
    largest = std::max(largest, blocks_needed(args, p));
    total += blocks_needed(args, p);
    longest = std::max(longest, ceil_div(length_limit(args, p), kKeyTile));
  }
  const int64_t block_bytes = KvPool::block_bytes(model_.spec()), budget = kv_bytes_ / block_bytes;
  ZAZEN_CHECK(largest <= budget, "KV_TOO_SMALL", "[generate] expected room for the samples of one prompt, ",
              largest * block_bytes, " bytes, got kvBytes ", kv_bytes_,
              "; raise kvBytes, or lower maxTokens or samplesPerPrompt");
  call.enough = std::min(max_rows_, model_.useful_samples(longest * block_bytes));
  const int64_t running = call.enough - 1 + args.samples;
  pool_.plan(model_.spec(), std::min({total, budget, std::max(largest, running * longest)}));
}

std::vector<Sample> Generator::run(TensorView weights, const GenerateArgs& args, Control& control) {
  Call call{weights, args, control, {}, {}, {}};
  reserve(call);
  call.samples.resize(static_cast<size_t>(args.prompts.sequences() * args.samples));
  call.stops.assign(static_cast<size_t>(model_.spec().vocab), 0);
  for (const int32_t id : args.stop) call.stops[static_cast<size_t>(id)] = 1;
  while (!control.aborted.load(std::memory_order_relaxed)) {
    admit(call);
    if (call.active.empty()) break;
    decode(call);
    retire(call);
    if (control.progress) control.progress(call.finished, static_cast<int64_t>(call.samples.size()), call.tokens);
  }
  return std::move(call.samples);
}

// Takes prompts in order while their blocks and rows fit and too few samples run.
void Generator::admit(Call& call) {
  const GenerateArgs& args = call.args;
  while (call.next_prompt < args.prompts.sequences()) {
    const int64_t first = call.next_prompt;
    int64_t last = first, blocks = pool_.free_blocks(), rows = 0;
    for (const auto& sequence : call.active)  // what running samples may still take
      blocks -= ceil_div(std::min(sequence.length + sequence.limit, model_.spec().max_positions), kKeyTile) -
                static_cast<int64_t>(sequence.blocks.size());
    int64_t active = static_cast<int64_t>(call.active.size());
    while (last < args.prompts.sequences()) {
      const auto p = static_cast<size_t>(last);
      const int64_t length = args.prompts.cu[p + 1] - args.prompts.cu[p];
      const bool fits = blocks_needed(args, last) <= blocks && (rows == 0 || rows + length <= max_rows_) &&
                        (active == 0 || (active < call.enough && active + args.samples <= max_rows_));
      if (!fits) break;
      blocks -= blocks_needed(args, last);
      rows += length;
      active += args.samples;
      ++last;
    }
    if (last == first) return;
    prefill(call, first, last);
    call.next_prompt = last;
    retire(call);
    if (call.control.aborted.load(std::memory_order_relaxed)) return;
  }
}

// Computes prompts [first, last), samples the first token of all their samples and makes them active.
void Generator::prefill(Call& call, int64_t first, int64_t last) {
  MicroBatch batch = lay_out(call.args.prompts, first, last);
  for (auto& block : batch.blocks) block = pool_.take();
  activations_.plan(model_.spec(), batch.rows.count(), 0, false);
  model_.forward(call.weights, batch.rows, activations_, pool_.blocks());
  const size_t before = call.active.size();
  std::vector<int32_t> rows;
  for (int64_t i = 0; i < last - first; ++i) {
    const Span& span = batch.rows.spans[static_cast<size_t>(i)];
    fork(call, first + i, {span.blocks, span.blocks + ceil_div(span.count, kKeyTile)});
    rows.insert(rows.end(), static_cast<size_t>(call.args.samples), static_cast<int32_t>(span.row + span.count - 1));
  }
  std::vector<Sequence*> sequences;
  for (size_t i = before; i < call.active.size(); ++i) sequences.push_back(&call.active[i]);
  sample(call, sequences, rows);
}

// Gives every sample of a prompt its own view: whole blocks are shared, a part-filled last block is copied.
void Generator::fork(Call& call, int64_t prompt, const std::vector<int32_t>& blocks) {
  const auto p = static_cast<size_t>(prompt);
  const int64_t length = call.args.prompts.cu[p + 1] - call.args.prompts.cu[p];
  const bool partial = length % kKeyTile != 0;
  for (int64_t s = 0; s < call.args.samples; ++s) {
    Sequence sequence{prompt * call.args.samples + s, length, length_limit(call.args, prompt) - length, blocks};
    if (s > 0) {
      const size_t whole = blocks.size() - (partial ? 1 : 0);
      for (size_t b = 0; b < whole; ++b) pool_.share(blocks[b]);
      if (partial) sequence.blocks.back() = pool_.copy(blocks.back());
    }
    call.active.push_back(std::move(sequence));
  }
}

// One more token for every active sequence.
void Generator::decode(Call& call) {
  Rows batch;
  std::vector<Sequence*> sequences;
  std::vector<int32_t> rows;
  for (auto& sequence : call.active) {
    const int64_t position = sequence.length - 1;  // of the last token, which has no keys yet
    if (position / kKeyTile == static_cast<int64_t>(sequence.blocks.size())) sequence.blocks.push_back(pool_.take());
    rows.push_back(static_cast<int32_t>(batch.count()));
    batch.spans.push_back({batch.count(), 1, position, sequence.blocks.data()});
    batch.ids.push_back(call.samples[static_cast<size_t>(sequence.sample)].tokens.back());
    batch.positions.push_back(static_cast<int32_t>(position));
    sequences.push_back(&sequence);
  }
  activations_.plan(model_.spec(), batch.count(), 0, false);
  model_.forward(call.weights, batch, activations_, pool_.blocks());
  sample(call, sequences, rows);
}

void Generator::sample(Call& call, const std::vector<Sequence*>& sequences, const std::vector<int32_t>& rows) {
  const ModelSpec& spec = model_.spec();
  const GenerateArgs& args = call.args;
  const SamplingArgs sampling{args.temperature, args.top_k, args.top_p, args.banned.data(),
                              static_cast<int64_t>(args.banned.size())};
  const int64_t count = static_cast<int64_t>(rows.size()), chunk = head_chunk_rows(spec);
  head_.plan(spec, count);
  const auto room = static_cast<size_t>(std::min(count, chunk));
  tokens_.reserve(room);
  uniforms_.reserve(room);
  sampler_logp_.reserve(room);
  for (int64_t first = 0; first < count; first += chunk) {
    const int64_t R = std::min(chunk, count - first);
    head_logits(model_, call.weights, activations_.normed(), rows.data() + first, R, head_);
    for (int64_t r = 0; r < R; ++r) {
      const Sequence& sequence = *sequences[static_cast<size_t>(first + r)];
      const auto position = static_cast<uint32_t>(call.samples[static_cast<size_t>(sequence.sample)].tokens.size());
      const auto problem = args.problems[static_cast<size_t>(sequence.sample / args.samples)];
      const auto index = static_cast<uint32_t>(sequence.sample % args.samples);
      uniforms_[static_cast<size_t>(r)] = uniform(philox(args.seed, {args.step, problem, index, position})[0]);
    }
    model_.kernels().sample(model_.pool(), tokens_.data(), head_.logp.data(), sampler_logp_.data(), head_.logits.data(),
                            spec.padded_vocab(), uniforms_.data(), sampling, R, spec.vocab);
    for (int64_t r = 0; r < R; ++r) {
      const auto i = static_cast<size_t>(r);
      append(call, *sequences[static_cast<size_t>(first + r)], tokens_[i], head_.logp[i], sampler_logp_[i]);
    }
  }
}

void Generator::append(Call& call, Sequence& sequence, int32_t token, float logp, float sampler_logp) {
  Sample& sample = call.samples[static_cast<size_t>(sequence.sample)];
  sample.tokens.push_back(token);
  sample.logp.push_back(logp);
  sample.sampler_logp.push_back(sampler_logp);
  ++sequence.length;
  --sequence.limit;
  ++call.tokens;
  if (call.stops[static_cast<size_t>(token)])
    sample.finish = Finish::stop;
  else if (sequence.limit == 0)
    sample.finish = Finish::length;
}

// Frees the blocks of sequences that ended.
void Generator::retire(Call& call) {
  const auto ended = [&](Sequence& sequence) {
    if (call.samples[static_cast<size_t>(sequence.sample)].finish == Finish::abort) return false;
    for (const int32_t block : sequence.blocks) pool_.give(block);
    ++call.finished;
    return true;
  };
  call.active.erase(std::remove_if(call.active.begin(), call.active.end(), ended), call.active.end());
}

}  // namespace zazen

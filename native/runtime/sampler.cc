#include "runtime/sampler.h"

#include <algorithm>

#include "core/rng.h"

namespace zazen {

void Sampler::begin(const GenerateArgs& args, const Vocabulary& vocabulary) {
  args_ = &args;
  vocabulary_ = &vocabulary;
  rules_.clear();
  for (const SamplingSpec& spec : args.samplings) {
    const bool constrained = spec.constraint.states() > 0;
    ZAZEN_CHECK(!vocabulary.empty() || (spec.stop_strings.empty() && !constrained), "NO_VOCABULARY", "[generate ",
                constrained ? "constraint" : "stopStrings",
                "] expected an engine that knows its vocabulary's bytes, got one that does not; call useVocabulary first");
    Rules rules{&spec, {}, spec.stop, nullptr};
    rules.args = {spec.temperature, spec.top_k, spec.top_p, spec.banned.data(), static_cast<int64_t>(spec.banned.size())};
    rules.args.min_p = spec.min_p;
    rules.args.repetition_penalty = spec.repetition_penalty;
    rules.args.presence_penalty = spec.presence_penalty;
    rules.args.frequency_penalty = spec.frequency_penalty;
    std::sort(rules.stops.begin(), rules.stops.end());
    if (constrained) rules.constraint = std::make_unique<Constraint>(spec, vocabulary, model_.spec().vocab);
    rules_.push_back(std::move(rules));
  }
}

Sequence Sampler::start(int64_t sample, int64_t length_limit) const {
  Sequence sequence;
  sequence.sample = sample;
  sequence.prompt = sample / args_->samples;
  sequence.length = args_->prompt_length(sequence.prompt);
  sequence.limit = length_limit - sequence.length;
  if (!args_->sampling(sequence.prompt).penalises()) return sequence;
  const int32_t* ids = args_->prompts.ids.data() + args_->prompts.cu[static_cast<size_t>(sequence.prompt)];
  for (int64_t i = 0; i < sequence.length; ++i) sequence.counts.add(ids[i], false);
  return sequence;
}

SamplingRow Sampler::row_of(Sequence& sequence, size_t position) const {
  const Rules& rules = this->rules(sequence.prompt);
  const auto problem = args_->problems[static_cast<size_t>(sequence.prompt)];
  const auto index = static_cast<uint32_t>(sequence.sample % args_->samples);
  const Counter key{args_->step, problem, index, static_cast<uint32_t>(position)};
  SamplingRow row{&rules.args, uniform(philox(args_->seed, key)[0])};
  row.seen = sequence.counts.ids.data();
  row.counts = sequence.counts.counts.data();
  row.scratch = sequence.counts.logits.data();
  row.seen_count = static_cast<int64_t>(sequence.counts.ids.size());
  if (rules.constraint) row.allowed = rules.constraint->allowed(sequence.state);
  return row;
}

void Sampler::draw(TensorView weights, TensorView normed, const std::vector<int32_t>& rows,
                   const std::vector<Sequence*>& sequences, std::vector<Sample>& samples, std::vector<TokenEvent>* events) {
  const ModelSpec& spec = model_.spec();
  const int64_t count = static_cast<int64_t>(rows.size()), chunk = head_chunk_rows(spec);
  head_.plan(spec, count);
  const auto room = static_cast<size_t>(std::min(count, chunk));
  tokens_.resize(std::max(tokens_.size(), room));
  sampler_logp_.resize(std::max(sampler_logp_.size(), room));
  for (int64_t first = 0; first < count; first += chunk) {
    const int64_t R = std::min(chunk, count - first);
    for (Rules& rules : rules_)
      if (rules.constraint) rules.constraint->trim();
    head_logits(model_, weights, normed, rows.data() + first, R, head_);
    rows_.clear();
    for (int64_t r = 0; r < R; ++r) {
      Sequence& sequence = *sequences[static_cast<size_t>(first + r)];
      rows_.push_back(row_of(sequence, samples[static_cast<size_t>(sequence.sample)].tokens.size()));
    }
    model_.kernels().sample(model_.pool(), tokens_.data(), head_.logp.data(), sampler_logp_.data(), head_.logits.data(),
                            spec.padded_outputs(), rows_.data(), R, spec.vocab);
    for (int64_t r = 0; r < R; ++r) {
      const auto i = static_cast<size_t>(r);
      Sequence& sequence = *sequences[static_cast<size_t>(first + r)];
      Sample& sample = samples[static_cast<size_t>(sequence.sample)];
      append(sequence, sample, tokens_[i], head_.logp[i], sampler_logp_[i]);
      if (events)
        events->push_back({sequence.sample, tokens_[i], head_.logp[i], sampler_logp_[i], static_cast<int32_t>(sample.finish),
                           sample.stop_string});
    }
  }
}

void Sampler::append(Sequence& sequence, Sample& sample, int32_t token, float logp, float sampler_logp) const {
  const Rules& rules = this->rules(sequence.prompt);
  sample.tokens.push_back(token);
  sample.logp.push_back(logp);
  sample.sampler_logp.push_back(sampler_logp);
  ++sequence.length;
  --sequence.limit;
  if (rules.spec->penalises()) sequence.counts.add(token, true);
  if (stops(rules, sequence, sample, token))
    sample.finish = Finish::stop;
  else if (sequence.limit == 0)
    sample.finish = Finish::length;
}

// An end token, a stop string that is whole, or a constraint that lets nothing follow.
bool Sampler::stops(const Rules& rules, Sequence& sequence, Sample& sample, int32_t token) const {
  if (std::binary_search(rules.stops.begin(), rules.stops.end(), token)) return true;
  if (!rules.spec->stop_strings.empty())
    sample.stop_string = sequence.tail.add(vocabulary_->bytes(token), rules.spec->stop_strings);
  if (rules.constraint) sequence.state = rules.constraint->next(sequence.state, token);
  return sample.stop_string >= 0 || (rules.constraint && rules.constraint->exhausted(sequence.state));
}

}  // namespace zazen

#include "runtime/scheduler.h"

#include <algorithm>

namespace zazen {

Scheduler::Scheduler(const GenerateArgs& args, const Transformer& model, KvPool& pool, int64_t kv_bytes, int64_t max_rows)
    : args_(args),
      pool_(pool),
      max_rows_(max_rows),
      max_positions_(model.spec().max_positions),
      held_(static_cast<size_t>(args.prompts.sequences())) {
  int64_t total = 0, longest = 1;  // blocks: of all samples, of the longest one
  for (int64_t p = 0; p < args.prompts.sequences(); ++p) {
    total += ceil_div(args.prompt_length(p), kKeyTile) + args.samples * own_blocks(p);
    longest = std::max(longest, final_blocks(p));
  }
  stats_.block_bytes = KvPool::block_bytes(model.spec());
  const int64_t useful = model.useful_samples(longest * stats_.block_bytes);
  const PoolSize size = pool_size(model.spec(), kv_bytes, max_rows, useful, args.samples, longest, total);
  enough_ = size.enough;
  stats_.blocks = size.blocks;
  pool_.plan(model.spec(), stats_.blocks);
}

PoolSize Scheduler::pool_size(const ModelSpec& spec, int64_t kv_bytes, int64_t max_rows, int64_t useful, int64_t samples,
                              int64_t longest, int64_t total) {
  const int64_t block_bytes = KvPool::block_bytes(spec), budget = kv_bytes / block_bytes;
  ZAZEN_CHECK(longest <= budget, "KV_TOO_SMALL", "[generate] expected room for the longest sample, ", longest * block_bytes,
              " bytes, got kvBytes ", kv_bytes, "; raise kvBytes, or lower maxTokens");
  const int64_t enough = std::min(max_rows, useful), most = std::min(enough - 1 + samples, std::max(max_rows, enough));
  const int64_t wanted = std::min(total, most * (longest + 1));
  return {std::min(budget, wanted), enough, most, budget < wanted};
}

PoolSize Scheduler::bound(const ModelSpec& spec, const ParameterList& parameters, int64_t threads, int64_t kv_bytes,
                          int64_t max_rows, const GenerateBound& call) {
  const int64_t longest = std::max<int64_t>(1, ceil_div(call.longest(spec) - 1, kKeyTile));
  // A completion that begins in the middle of a block takes one more than its tokens fill.
  const int64_t own = std::min(longest, ceil_div(call.max_tokens - 1, kKeyTile) + 1);
  const int64_t a_prompt = ceil_div(call.prompt_tokens, kKeyTile) + checked_product(call.samples, own);
  const int64_t useful =
      Transformer::useful_samples(spec, parameters, threads, checked_product(longest, KvPool::block_bytes(spec)));
  return pool_size(spec, kv_bytes, max_rows, useful, call.samples, longest, checked_product(call.prompts, a_prompt));
}

int64_t Scheduler::length_limit(int64_t prompt) const {
  return std::min(args_.prompt_length(prompt) + args_.sampling(prompt).max_tokens, max_positions_);
}

// Of a sample at its longest: nothing follows its last token, whose keys are never made.
int64_t Scheduler::final_blocks(int64_t prompt) const { return ceil_div(length_limit(prompt) - 1, kKeyTile); }

// What each of a prompt's samples takes beside the prompt's whole blocks.
int64_t Scheduler::own_blocks(int64_t prompt) const {
  const int64_t length = args_.prompt_length(prompt);
  return length_limit(prompt) - length == 1 ? 0 : final_blocks(prompt) - length / kKeyTile;
}

int64_t Scheduler::may_take(const Sequence& sequence) const {
  return final_blocks(sequence.prompt) - static_cast<int64_t>(sequence.blocks.size());
}

// A block for every running sequence that may still need one: so that whoever is admitted gets some tokens further before
// anyone has to give way.
int64_t Scheduler::reserve() const {
  int64_t blocks = 0;
  for (const Sequence& sequence : running_) blocks += std::min<int64_t>(1, may_take(sequence));
  return blocks;
}

// A sequence of more rows than a pass may have goes by itself.
bool Scheduler::fits_rows(const Admission& admission, int64_t rows) const {
  return admission.rows.count() == 0 || admission.rows.count() + rows <= max_rows_;
}

Scheduler::Admission Scheduler::admit(const std::vector<Sample>& samples) {
  Admission admission;
  promised_blocks_ = promised_samples_ = 0;
  while (!waiting_.empty() && resume(admission, samples)) {
  }
  while (waiting_.empty() && next_prompt_ < args_.prompts.sequences() && begin(admission)) {
  }
  return admission;
}

// The oldest sequence that waits: it shares the whole blocks of its prompt and copies a part-filled one, if they are still
// held, and computes what follows.
bool Scheduler::resume(Admission& admission, const std::vector<Sample>& samples) {
  if (static_cast<int64_t>(running_.size()) >= max_rows_) return false;
  Sequence& sequence = waiting_.front();
  const auto& again = admission.recomputed;
  if (std::find(again.begin(), again.end(), sequence.prompt) != again.end()) return false;  // its prompt is about to be held
  const Held& held = held_[static_cast<size_t>(sequence.prompt)];
  const int64_t prompt = args_.prompt_length(sequence.prompt), kept = sequence.length - 1;
  const bool copies = !held.blocks.empty() && prompt % kKeyTile != 0 && pool_.is_shared(held.blocks.back());
  const int64_t from = held.blocks.empty() ? 0 : prompt;
  const int64_t shared = static_cast<int64_t>(held.blocks.size()) - (copies ? 1 : 0);
  const int64_t fresh = ceil_div(kept, kKeyTile) - shared;
  if (!fits_rows(admission, kept - from)) return false;
  const bool alone = running_.empty();
  const int64_t ahead = std::min<int64_t>(1, final_blocks(sequence.prompt) - shared - fresh);
  if (pool_.free_blocks() < fresh + (alone ? 0 : ahead + reserve())) {
    return alone && reclaim() && resume(admission, samples);  // its own prompt's blocks may have gone
  }
  for (int64_t b = 0; b < shared; ++b) {
    pool_.share(held.blocks[static_cast<size_t>(b)]);
    sequence.blocks.push_back(held.blocks[static_cast<size_t>(b)]);
  }
  if (copies) sequence.blocks.push_back(pool_.copy(held.blocks.back()));
  while (static_cast<int64_t>(sequence.blocks.size()) < ceil_div(kept, kKeyTile)) sequence.blocks.push_back(pool_.take());
  if (from == 0) admission.recomputed.push_back(sequence.prompt);
  running_.push_back(std::move(sequence));
  waiting_.pop_front();
  const Sequence& back = running_.back();
  add_rows(admission.rows, back, from, samples[static_cast<size_t>(back.sample)].tokens);
  stats_.recomputed_tokens += kept - from;
  ++admission.resumed;
  return true;
}

// The next prompt, if it and at least one of its samples find room.
bool Scheduler::begin(Admission& admission) {
  const int64_t p = next_prompt_, length = args_.prompt_length(p), blocks = ceil_div(length, kKeyTile);
  const int64_t running = static_cast<int64_t>(running_.size()) + promised_samples_;
  if (running > 0 && (running >= enough_ || running + args_.samples > max_rows_)) return false;
  if (!fits_rows(admission, length)) return false;
  const int64_t ahead = std::min<int64_t>(1, final_blocks(p) - blocks);  // of one sample
  if (pool_.free_blocks() - promised_blocks_ < blocks + (running > 0 ? ahead + reserve() : 0)) return false;
  Held& held = held_[static_cast<size_t>(p)];
  held.unfinished = args_.samples;
  for (int64_t b = 0; b < blocks; ++b) held.blocks.push_back(pool_.take());
  const auto first = static_cast<size_t>(args_.prompts.cu[static_cast<size_t>(p)]);
  Rows& rows = admission.rows;
  rows.spans.push_back({rows.count(), length, 0, held.blocks.data()});
  for (int64_t i = 0; i < length; ++i) {
    rows.ids.push_back(args_.prompts.ids[first + static_cast<size_t>(i)]);
    rows.positions.push_back(static_cast<int32_t>(i));
  }
  admission.prompts.push_back(p);
  admission.last_rows.push_back(static_cast<int32_t>(rows.count() - 1));
  promised_blocks_ += args_.samples * std::min(own_blocks(p), length % kKeyTile == 0 ? ahead : 1 + ahead);
  promised_samples_ += args_.samples;
  ++next_prompt_;
  return true;
}

// Rows of positions [first, length - 1).
void Scheduler::add_rows(Rows& rows, const Sequence& sequence, int64_t first, const std::vector<int32_t>& completion) const {
  const int64_t prompt = args_.prompt_length(sequence.prompt), count = sequence.length - 1 - first;
  if (count == 0) return;
  rows.spans.push_back({rows.count(), count, first, sequence.blocks.data()});
  const int32_t* ids = args_.prompts.ids.data() + args_.prompts.cu[static_cast<size_t>(sequence.prompt)];
  for (int64_t i = first; i < first + count; ++i) {
    rows.ids.push_back(i < prompt ? ids[i] : completion[static_cast<size_t>(i - prompt)]);
    rows.positions.push_back(static_cast<int32_t>(i));
  }
}

// Prompts that had to be computed again are held again, for the samples that come after.
void Scheduler::computed(const Admission& admission) {
  for (const Sequence& sequence : running_) {
    const auto& again = admission.recomputed;
    Held& held = held_[static_cast<size_t>(sequence.prompt)];
    if (!held.blocks.empty() || std::find(again.begin(), again.end(), sequence.prompt) == again.end()) continue;
    const int64_t blocks = ceil_div(args_.prompt_length(sequence.prompt), kKeyTile);
    held.blocks.assign(sequence.blocks.begin(), sequence.blocks.begin() + blocks);
    for (const int32_t block : held.blocks) pool_.share(block);
  }
}

Rows Scheduler::decode(const std::vector<Sample>& samples) {
  for (size_t i = 0; i < running_.size(); ++i) {
    const int64_t position = running_[i].length - 1;
    if (position / kKeyTile < static_cast<int64_t>(running_[i].blocks.size())) continue;
    while (pool_.free_blocks() == 0 && i < running_.size())
      if (!reclaim()) preempt();
    if (i < running_.size()) running_[i].blocks.push_back(pool_.take());
  }
  Rows rows;
  for (const Sequence& sequence : running_) {
    const int64_t position = sequence.length - 1;
    rows.spans.push_back({rows.count(), 1, position, sequence.blocks.data()});
    rows.ids.push_back(samples[static_cast<size_t>(sequence.sample)].tokens.back());
    rows.positions.push_back(static_cast<int32_t>(position));
  }
  return rows;
}

GenerateStats Scheduler::stats() const {
  GenerateStats stats = stats_;
  stats.peak_blocks = pool_.peak_blocks();
  return stats;
}

// Frees blocks of a prompt that no running sequence uses, of the youngest one; false when there are none.
bool Scheduler::reclaim() {
  for (int64_t p = next_prompt_ - 1; p >= 0; --p) {
    Held& held = held_[static_cast<size_t>(p)];
    const bool frees = std::any_of(held.blocks.begin(), held.blocks.end(), [&](int32_t b) { return !pool_.is_shared(b); });
    if (!frees) continue;
    drop(held);
    return true;
  }
  return false;
}

void Scheduler::preempt() {
  Sequence& youngest = running_.back();
  for (const int32_t block : youngest.blocks) pool_.give(block);
  youngest.blocks.clear();
  waiting_.push_front(std::move(youngest));
  running_.pop_back();
  ++stats_.preemptions;
}

void Scheduler::drop(Held& held) {
  for (const int32_t block : held.blocks) pool_.give(block);
  held.blocks.clear();
}

void Scheduler::ended(int64_t prompt) {
  Held& held = held_[static_cast<size_t>(prompt)];
  if (--held.unfinished == 0) drop(held);
}

void Scheduler::retire(const std::vector<Sample>& samples) {
  const auto is_over = [&](Sequence& sequence) {
    if (samples[static_cast<size_t>(sequence.sample)].finish == Finish::abort) return false;
    for (const int32_t block : sequence.blocks) pool_.give(block);
    ended(sequence.prompt);
    return true;
  };
  running_.erase(std::remove_if(running_.begin(), running_.end(), is_over), running_.end());
}

}  // namespace zazen

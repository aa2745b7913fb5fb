#include "runtime/generator.h"

namespace zazen {

struct Generator::Call {
  TensorView weights;
  const GenerateArgs& args;
  Control& control;
  Scheduler scheduler;
  std::vector<Sample> samples{};
  std::vector<TokenEvent> events{};
  int64_t finished = 0, tokens = 0;

  bool aborted() const { return control.aborted.load(std::memory_order_relaxed); }
};

void Generator::reserve(const GenerateSize& size) {
  activations_.plan(model_.spec(), size.rows, 0, false);
  sampler_.reserve(size.draws);
  pool_.plan(model_.spec(), size.kv_blocks);
}

Generated Generator::run(TensorView weights, const GenerateArgs& args, Control& control) {
  sampler_.begin(args, vocabulary_);
  Call call{weights, args, control, {args, model_, pool_, kv_bytes_, max_rows_}};
  call.samples.resize(static_cast<size_t>(args.sample_count()));
  while (!call.aborted()) {
    admit(call);
    if (call.scheduler.running().empty() || call.aborted()) break;
    decode(call);
    if (control.progress) control.progress(call.finished, static_cast<int64_t>(call.samples.size()), call.tokens);
  }
  return {std::move(call.samples), call.scheduler.stats()};
}

void Generator::admit(Call& call) {
  while (!call.aborted()) {
    const Scheduler::Admission admission = call.scheduler.admit(call.samples);
    if (admission.empty()) return;
    prefill(call, admission);
  }
}

// Computes what was admitted, and samples the first token of all samples of the prompts that begin. A sequence that is longer
// than a pass may be was admitted by itself, and is computed in pieces: the row that is sampled from is in the last one.
void Generator::prefill(Call& call, const Scheduler::Admission& admission) {
  int64_t last_piece = 0;  // its first row
  for (const Rows& piece : cut_pieces(admission.rows, max_rows_)) {
    if (!forward(call, piece)) return;
    last_piece = admission.rows.count() - piece.count();
  }
  call.scheduler.computed(admission);
  std::vector<Sequence> started;
  std::vector<int32_t> rows;
  for (size_t i = 0; i < admission.prompts.size(); ++i) {
    const int64_t prompt = admission.prompts[i], limit = call.scheduler.length_limit(prompt);
    for (int64_t s = 0; s < call.args.samples; ++s) started.push_back(sampler_.start(prompt * call.args.samples + s, limit));
    const auto row = static_cast<int32_t>(admission.last_rows[i] - last_piece);
    rows.insert(rows.end(), static_cast<size_t>(call.args.samples), row);
  }
  std::vector<Sequence*> sequences;
  for (Sequence& sequence : started) sequences.push_back(&sequence);
  draw(call, rows, sequences);
  for (Sequence& sequence : started) {
    if (call.samples[static_cast<size_t>(sequence.sample)].finish == Finish::abort)
      call.scheduler.enqueue(std::move(sequence));
    else
      call.scheduler.ended(sequence.prompt);
  }
}

// One more token for every running sequence.
void Generator::decode(Call& call) {
  const Rows batch = call.scheduler.decode(call.samples);
  if (!forward(call, batch)) return;
  std::vector<int32_t> rows;
  std::vector<Sequence*> sequences;
  for (Sequence& sequence : call.scheduler.running()) {
    rows.push_back(static_cast<int32_t>(rows.size()));
    sequences.push_back(&sequence);
  }
  draw(call, rows, sequences);
  call.scheduler.retire(call.samples);
}

bool Generator::forward(Call& call, const Rows& rows) {
  if (rows.count() == 0) return !call.aborted();
  activations_.plan(model_.spec(), rows.count(), 0, false);
  return model_.forward(call.weights, rows, activations_, pool_.blocks(), &call.control.aborted);
}

void Generator::draw(Call& call, const std::vector<int32_t>& rows, const std::vector<Sequence*>& sequences) {
  if (sequences.empty()) return;
  call.events.clear();
  sampler_.draw(call.weights, activations_.normed(), rows, sequences, call.samples,
                call.control.stream ? &call.events : nullptr);
  call.tokens += static_cast<int64_t>(sequences.size());
  for (const Sequence* sequence : sequences)
    if (call.samples[static_cast<size_t>(sequence->sample)].finish != Finish::abort) ++call.finished;
  if (call.control.stream) call.control.stream(call.events);
}

}  // namespace zazen

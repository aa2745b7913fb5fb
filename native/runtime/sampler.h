// From hidden rows to tokens: draws one for each sequence, records it, and says when a sample has ended.
#pragma once

#include <memory>
#include <vector>

#include "model/head.h"
#include "runtime/control.h"
#include "runtime/sequence.h"

namespace zazen {

class Sampler {
 public:
  explicit Sampler(const Transformer& model) : model_(model) {}

  // Makes ready for a call. Throws NO_VOCABULARY when stop strings or a constraint have no bytes to look at, and
  // CONSTRAINT_UNSATISFIABLE.
  void begin(const GenerateArgs& args, const Vocabulary& vocabulary);
  // Room to draw for so many sequences at once.
  void reserve(int64_t sequences) { head_.plan(model_.spec(), sequences); }
  // A sequence without completion.
  Sequence start(int64_t sample, int64_t length_limit) const;
  // Draws a token for each sequence from row rows[i] of `normed` [T, H] and appends it to its sample.
  void draw(TensorView weights, TensorView normed, const std::vector<int32_t>& rows, const std::vector<Sequence*>& sequences,
            std::vector<Sample>& samples, std::vector<TokenEvent>* events);

 private:
  // What is made of a SamplingSpec for a call.
  struct Rules {
    const SamplingSpec* spec;
    SamplingArgs args;
    std::vector<int32_t> stops;  // ascending
    std::unique_ptr<Constraint> constraint;
  };

  const Rules& rules(int64_t prompt) const {
    return rules_[static_cast<size_t>(args_->sampling_of[static_cast<size_t>(prompt)])];
  }
  SamplingRow row_of(Sequence& sequence, size_t position) const;
  void append(Sequence& sequence, Sample& sample, int32_t token, float logp, float sampler_logp) const;
  bool stops(const Rules& rules, Sequence& sequence, Sample& sample, int32_t token) const;

  const Transformer& model_;
  const GenerateArgs* args_ = nullptr;
  const Vocabulary* vocabulary_ = nullptr;
  std::vector<Rules> rules_;
  HeadWorkspace head_;
  std::vector<SamplingRow> rows_;  // [R]
  std::vector<int32_t> tokens_;    // [R]
  std::vector<float> sampler_logp_;
};

}  // namespace zazen

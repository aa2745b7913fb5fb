// Decides who computes next: continuous batching over blocks of keys and values. Prompts are admitted while blocks are free;
// when the pool runs dry the youngest sequence gives its blocks back and is computed again later, prompt and completion so far.
// The order of age is the order of samples, so running sequences are older than waiting ones, and those older than prompts that
// have not begun. Computes nothing itself; none of its decisions changes a bit of any sample.
#pragma once

#include <algorithm>
#include <deque>
#include <vector>

#include "model/transformer.h"
#include "runtime/generation.h"
#include "runtime/kv_pool.h"
#include "runtime/sequence.h"

namespace zazen {

// Room for keys and values, and what uses it.
struct PoolSize {
  int64_t blocks;
  int64_t enough;  // running samples at which no further prompt begins
  int64_t most;    // samples that run at once
  bool scarce;     // they may have to give way, and are computed again
};

// Calls of generate at most.
struct GenerateBound {
  int64_t prompts = 0, prompt_tokens = 0, samples = 1, max_tokens = 1;

  // Tokens of the longest sequence.
  int64_t longest(const ModelSpec& spec) const { return std::min(prompt_tokens + max_tokens, spec.max_positions); }
};

class Scheduler {
 public:
  // Rows to compute before anything else can go on.
  struct Admission {
    Rows rows;
    std::vector<int64_t> prompts;     // that begin; their last rows are the last of their spans
    std::vector<int32_t> last_rows;   // [prompts]
    std::vector<int64_t> recomputed;  // prompts of sequences that are computed from their first token on
    int64_t resumed = 0;              // sequences; some need no rows
    bool empty() const { return resumed == 0 && prompts.empty(); }
  };

  // For samples of which the longest takes `longest` blocks and all together take `total`. Throws KV_TOO_SMALL when one
  // sequence does not fit by itself. `useful` are the samples of that length that are worth running at once.
  static PoolSize pool_size(const ModelSpec& spec, int64_t kv_bytes, int64_t max_rows, int64_t useful, int64_t samples,
                            int64_t longest, int64_t total);
  // The largest pool of such calls.
  static PoolSize bound(const ModelSpec& spec, const ParameterList& parameters, int64_t threads, int64_t kv_bytes,
                        int64_t max_rows, const GenerateBound& call);

  // Throws KV_TOO_SMALL when one sequence does not fit by itself.
  Scheduler(const GenerateArgs& args, const Transformer& model, KvPool& pool, int64_t kv_bytes, int64_t max_rows);

  // Resumes sequences that wait, oldest first, then begins prompts. `samples` are what has been sampled so far.
  Admission admit(const std::vector<Sample>& samples);
  // The rows of an admission have been computed.
  void computed(const Admission& admission);
  // A sequence whose first token has been sampled waits for a place.
  void enqueue(Sequence sequence) { waiting_.push_back(std::move(sequence)); }
  // One more row for every running sequence; the youngest ones give way where blocks are short.
  Rows decode(const std::vector<Sample>& samples);
  // Frees what belongs to samples that have ended.
  void retire(const std::vector<Sample>& samples);
  // A sample ended without having run.
  void ended(int64_t prompt);

  std::vector<Sequence>& running() { return running_; }
  int64_t length_limit(int64_t prompt) const;  // tokens of a sequence at most
  GenerateStats stats() const;

 private:
  // Blocks of a prompt, kept until all its samples have ended or others need them.
  struct Held {
    std::vector<int32_t> blocks;
    int64_t unfinished = 0;
  };

  int64_t final_blocks(int64_t prompt) const;
  int64_t own_blocks(int64_t prompt) const;
  int64_t may_take(const Sequence& sequence) const;
  int64_t reserve() const;
  bool resume(Admission& admission, const std::vector<Sample>& samples);
  bool begin(Admission& admission);
  void add_rows(Rows& rows, const Sequence& sequence, int64_t first, const std::vector<int32_t>& completion) const;
  bool reclaim();
  void preempt();
  void drop(Held& held);
  bool fits_rows(const Admission& admission, int64_t rows) const;

  const GenerateArgs& args_;
  KvPool& pool_;
  int64_t max_rows_, max_positions_;
  int64_t enough_ = 0;  // running samples at which no further prompt begins
  int64_t next_prompt_ = 0;
  int64_t promised_blocks_ = 0, promised_samples_ = 0;  // of the prompts that begin in the admission in hand
  std::vector<Sequence> running_;
  std::deque<Sequence> waiting_;
  std::vector<Held> held_;  // [prompts]
  GenerateStats stats_;
};

}  // namespace zazen

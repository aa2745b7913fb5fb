// Draws one token a row. The policy's log-prob comes from softmax_row, as in training; the sampler's distribution is the
// softmax of what the processors leave of the row, in the order of transformers: penalties, banned and constrained ids,
// (temperature), top-k, top-p, min-p. The penalties act on logits / temperature, which is the same but for rounding. Excluded
// logits are -inf.
//
// Filters look for a threshold by bisection over the ordered bit patterns of floats: no sorting, no memory, ties to lower ids.
#include "kernels/cpu/ops.h"
#include "kernels/cpu/softmax_row.h"

namespace zazen::ZAZEN_ISA {
namespace {

constexpr int64_t kRowWork = 8;  // element operations an id, two passes and an exponential
constexpr int64_t kMassBlock = 8 * kLanes;
constexpr float kMinusInfinity = -__builtin_inff();

// An order-preserving map between floats and integers, its own inverse on bit patterns.
inline int32_t flip(int32_t bits) { return bits ^ ((bits >> 31) & 0x7FFFFFFF); }
inline int32_t key_of(float x) {
  int32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return flip(bits);
}
inline float value_of(int32_t key) {
  const int32_t bits = flip(key);
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

// The largest float in [-inf, top] that `enough` accepts; it must accept -inf, and all below what it accepts.
template <class Enough>
float bisect(float top, const Enough& enough) {
  int64_t low = key_of(kMinusInfinity), high = key_of(top);
  while (low < high) {
    const int64_t middle = low + (high - low + 1) / 2;
    if (enough(value_of(static_cast<int32_t>(middle))))
      low = middle;
    else
      high = middle - 1;
  }
  return value_of(static_cast<int32_t>(low));
}

// Ids with z >= threshold.
int64_t count_from(const float* z, int64_t V, float threshold) {
  int32_t count = 0;
  for (int64_t v = 0; v < V; ++v) count += z[v] >= threshold;
  return count;
}
int64_t count_equal(const float* z, int64_t V, float value) {
  int32_t count = 0;
  for (int64_t v = 0; v < V; ++v) count += z[v] == value;
  return count;
}

// Sum of exp(z - max) over ids with z >= threshold. Blocks that lie below it as a whole, most of them, need no exponentials.
float mass_from(const float* z, int64_t V, float max, float threshold) {
  F32x16 mass = zero();
  for (int64_t begin = 0; begin < V; begin += kMassBlock) {
    const float* block = z + begin;
    const int64_t n = V - begin < kMassBlock ? V - begin : kMassBlock;
    if (row_max(block, n) < threshold) continue;
    for_lanes(n, [&](int64_t i, auto lanes) {
      const F32x16 a = lanes.load(block + i);
      mass = mass + lanes.keep(select_less(a, set1(threshold), zero(), exp(a - set1(max))), zero());
    });
  }
  return sum(mass);
}

// Excludes ids below the threshold, and of those equal to it all but the first `equals`.
void exclude(float* z, int64_t V, float threshold, int64_t equals) {
  for (int64_t v = 0; v < V; ++v) {
    if (z[v] > threshold || (z[v] == threshold && equals-- > 0)) continue;
    z[v] = kMinusInfinity;
  }
}

// Keeps the k largest.
void keep_top_k(float* z, int64_t V, float max, int64_t k) {
  const float threshold = bisect(max, [&](float t) { return count_from(z, V, t) >= k; });
  const int64_t equal = count_equal(z, V, threshold), above = count_from(z, V, threshold) - equal;
  exclude(z, V, threshold, k - above);
}

// Keeps the smallest set of the most probable ids whose mass is at least p of the whole (Holtzman et al. 2020).
void keep_top_p(float* z, int64_t V, float max, float p) {
  const double wanted = static_cast<double>(p) * static_cast<double>(mass_from(z, V, max, kMinusInfinity));
  const float threshold = bisect(max, [&](float t) { return static_cast<double>(mass_from(z, V, max, t)) >= wanted; });
  const double one = static_cast<double>(exp(threshold - max));
  double mass = static_cast<double>(mass_from(z, V, max, threshold)) - one * static_cast<double>(count_equal(z, V, threshold));
  int64_t equals = 1;
  for (mass += one; mass < wanted && equals < V; mass += one) ++equals;
  exclude(z, V, threshold, equals);
}

// Keeps ids of at least min_p times the largest probability (Nguyen et al. 2024).
void keep_min_p(float* z, int64_t V, float max, float min_p) {
  const float threshold = static_cast<float>(static_cast<double>(max) + __builtin_log(static_cast<double>(min_p)));
  for (int64_t v = 0; v < V; ++v)
    if (z[v] < threshold) z[v] = kMinusInfinity;
}

void filter(float* z, int64_t V, const SamplingArgs& args) {
  const float max = row_max(z, V);
  if (args.top_k > 0 && args.top_k < V) keep_top_k(z, V, max, args.top_k);
  if (args.top_p < 1.0f) keep_top_p(z, V, max, args.top_p);
  if (args.min_p > 0.0f) keep_min_p(z, V, max, args.min_p);
}

// `scale` is what the row was multiplied by. The logits as they were go to the scratch.
void penalise(float* z, float scale, const SamplingRow& row) {
  const SamplingArgs& args = *row.args;
  for (int64_t i = 0; i < row.seen_count; ++i) {
    float& logit = z[row.seen[i]];
    row.scratch[i] = logit;
    logit = logit > 0.0f ? logit / args.repetition_penalty : logit * args.repetition_penalty;
    const float count = static_cast<float>(row.counts[i]);
    if (row.counts[i] > 0) logit = logit - scale * (args.presence_penalty + args.frequency_penalty * count);
  }
}

// The logit as it was before the penalties.
float unpenalised(const float* z, int64_t token, const SamplingRow& row) {
  for (int64_t i = 0; i < row.seen_count; ++i)
    if (row.seen[i] == token) return row.scratch[i];
  return z[token];
}

void exclude_others(float* z, int64_t V, const uint64_t* allowed) {
  for (int64_t v = 0; v < V; ++v)
    if ((allowed[v / 64] >> (v % 64) & 1) == 0) z[v] = kMinusInfinity;
}

int64_t first_equal(const float* z, int64_t V, float value) {
  for (int64_t v = 0; v < V; ++v)
    if (z[v] == value) return v;
  return 0;
}

// Inverse of the cumulative distribution in id order: the first id at which the sum passes u * total. The sum at the start of
// a block is a fold of lanes and inside it a chain, so a block may end a rounding error short: then its last possible id is
// taken.
int64_t draw(const float* z, int64_t V, const RowSoftmax& row, const float* prefixes, float u) {
  const double target = static_cast<double>(u) * static_cast<double>(row.sum);
  const int64_t step = prefix_step(V), blocks = ceil_div(V, step);
  int64_t block = 0;
  while (block < blocks - 1 && !(static_cast<double>(prefixes[block]) > target)) ++block;
  const int64_t begin = block * step, end = begin + step < V ? begin + step : V;
  double running = block > 0 ? static_cast<double>(prefixes[block - 1]) : 0.0;
  int64_t token = begin;
  float e[kLanes];
  for (int64_t i = begin; i < end; i += kLanes) {
    const int64_t n = end - i < kLanes ? end - i : kLanes;
    store(e, exp(load(z + i, n) - set1(row.max)));
    for (int64_t j = 0; j < n; ++j) {
      if (!(e[j] > 0.0f)) continue;
      token = i + j;
      running += static_cast<double>(e[j]);
      if (running > target) return token;
    }
  }
  return token;
}

struct Drawn {
  int64_t token;
  float logp, sampler_logp;
};

Drawn sample_row(float* z, int64_t V, const SamplingRow& row) {
  float prefixes[kPrefixes];
  const SamplingArgs& args = *row.args;
  const bool greedy = args.temperature == 0.0f;
  const float scale = greedy ? 1.0f : 1.0f / args.temperature;
  const RowSoftmax policy = softmax_row(z, V, scale, prefixes);
  penalise(z, scale, row);
  for (int64_t i = 0; i < args.banned_count; ++i) z[args.banned[i]] = kMinusInfinity;
  if (row.allowed) exclude_others(z, V, row.allowed);
  if (greedy) {
    const int64_t best = first_equal(z, V, row_max(z, V));
    return {best, unpenalised(z, best, row) - policy.lse, 0.0f};
  }
  RowSoftmax sampler = policy;
  if (args.banned_count > 0 || args.top_k > 0 || args.top_p < 1.0f || args.min_p > 0.0f || row.seen_count > 0 || row.allowed) {
    filter(z, V, args);
    sampler = softmax_row(z, V, 1.0f, prefixes);
  }
  const int64_t token = draw(z, V, sampler, prefixes, row.u);
  return {token, unpenalised(z, token, row) - policy.lse, z[token] - sampler.lse};
}

}  // namespace

void sample(ThreadPool& pool, int32_t* tokens, float* logp, float* sampler_logp, float* logits, int64_t ld,
            const SamplingRow* rows, int64_t R, int64_t V) {
  parallel_pieces(pool, R, task_items(kRowWork * V), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const Drawn drawn = sample_row(logits + r * ld, V, rows[r]);
      tokens[r] = static_cast<int32_t>(drawn.token);
      logp[r] = drawn.logp;
      sampler_logp[r] = drawn.sampler_logp;
    }
  });
}

}  // namespace zazen::ZAZEN_ISA

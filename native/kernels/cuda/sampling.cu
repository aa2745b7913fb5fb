// Draws one token a row (kernels/cpu/sampling.cc has the order of the processors and their definitions). Rows, their arguments
// and all that these point to are in device memory.
//
// A block a row. The policy's log-prob comes from softmax_row, as in training. Filters look for their thresholds by counting
// (threshold.cuh), and the draw goes down a tree of sums: eight warps sum an eighth each, the first one to pass the target is
// cut in eight again. Every order is a function of V alone. Limit: what one multiprocessor reads, two passes over a row without
// filters, of which the second finds it in L2, and about thirteen more for each of top-k and top-p.
#include "kernels/cuda/candidate.cuh"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/softmax.cuh"
#include "kernels/cuda/threshold.cuh"

namespace zazen::cuda {
namespace {

struct Shared {
  SoftmaxSums sums[kWarps];
  Candidate best[kWarps];
  float max[kWarps];
  ProbeRoom<int32_t> counts;
  ProbeRoom<float> masses;
  double pieces[kWarps];
  float logit;
};

// `scale` is what the row was multiplied by. The logits as they were go to the scratch.
__device__ void penalise(float* z, float scale, const SamplingRow& row, const SamplingArgs& args) {
  for (int64_t i = threadIdx.x; i < row.seen_count; i += kThreads) {
    float logit = z[row.seen[i]];
    row.scratch[i] = logit;
    logit = logit > 0.0f ? logit / args.repetition_penalty : logit * args.repetition_penalty;
    const float count = static_cast<float>(row.counts[i]);
    if (row.counts[i] > 0) logit = logit - scale * (args.presence_penalty + args.frequency_penalty * count);
    z[row.seen[i]] = logit;
  }
}

// An id may be named twice, so each has a thread of its own.
__device__ void exclude_banned(float* z, const SamplingArgs& args) {
  for (int64_t i = 0; i < args.banned_count; ++i)
    if (args.banned[i] % kThreads == static_cast<int32_t>(threadIdx.x)) z[args.banned[i]] = -INFINITY;
}

template <bool Aligned>
__device__ void exclude_others(float* z, int64_t V, const uint64_t* allowed) {
  change_logits<Aligned>(
      z, V, [&](int64_t v, float logit) { return v < V && (allowed[v / 64] >> (v % 64) & 1) == 0 ? -INFINITY : logit; });
}

// Counts, or masses, of the logits above a threshold and of those equal to it.
struct Tally {
  int32_t above, equal;
  float mass_above;
};
template <bool Aligned>
__device__ Tally tally(Shared& shared, const float* z, int64_t V, float max, float threshold) {
  int32_t counts[kProbes] = {};
  float masses[kProbes] = {};
  for_logits<Aligned>(z, V, [&](int64_t, float logit) {
    counts[0] += logit > threshold ? 1 : 0;
    counts[1] += logit == threshold ? 1 : 0;
    masses[0] = masses[0] + (logit > threshold ? exponential(logit - max) : 0.0f);
  });
  join_probes(shared.counts, counts);
  join_probes(shared.masses, masses);
  return {counts[0], counts[1], masses[0]};
}

// Excludes ids below the threshold, and of those equal to it all but the first `equals`.
template <bool Aligned>
__device__ void exclude(Shared& shared, float* z, int64_t V, float threshold, const Tally& have, int64_t equals) {
  const int64_t end = equals < have.equal ? end_of_first<Aligned>(shared.counts, z, V, threshold, equals) : V;
  change_logits<Aligned>(
      z, V, [&](int64_t v, float logit) { return logit > threshold || (logit == threshold && v < end) ? logit : -INFINITY; });
}

// Keeps the k largest.
template <bool Aligned>
__device__ void keep_top_k(Shared& shared, float* z, int64_t V, float max, int64_t k) {
  const float threshold = threshold_of<Aligned>(
      shared.counts, z, V, [](float) { return 1; }, [&](int32_t count) { return count >= k; });
  const Tally have = tally<Aligned>(shared, z, V, max, threshold);
  exclude<Aligned>(shared, z, V, threshold, have, k - have.above);
}

// Keeps the smallest set of the most probable ids whose mass is at least p of the whole (Holtzman et al. 2020).
template <bool Aligned>
__device__ void keep_top_p(Shared& shared, float* z, int64_t V, float max, float p) {
  const auto share = [&](float logit) { return exponential(logit - max); };
  float all[kProbes] = {};
  for_logits<Aligned>(z, V, [&](int64_t, float logit) { all[0] = all[0] + share(logit); });
  join_probes(shared.masses, all);
  const double wanted = static_cast<double>(p) * static_cast<double>(all[0]);
  const auto enough = [&](float mass) { return static_cast<double>(mass) >= wanted; };
  const float threshold = threshold_of<Aligned>(shared.masses, z, V, share, enough);
  const Tally have = tally<Aligned>(shared, z, V, max, threshold);
  const double missing = (wanted - static_cast<double>(have.mass_above)) / static_cast<double>(share(threshold));
  const int64_t equals = missing < static_cast<double>(have.equal) ? static_cast<int64_t>(ceil(missing)) : have.equal;
  exclude<Aligned>(shared, z, V, threshold, have, equals > 1 ? equals : 1);
}

// Keeps ids of at least min_p times the largest probability (Nguyen et al. 2024).
template <bool Aligned>
__device__ void keep_min_p(float* z, int64_t V, float max, float min_p) {
  const float threshold = static_cast<float>(static_cast<double>(max) + log(static_cast<double>(min_p)));
  change_logits<Aligned>(z, V, [&](int64_t, float logit) { return logit < threshold ? -INFINITY : logit; });
}

// A thread reads of the row what it wrote itself, so nothing is between the filters.
template <bool Aligned>
__device__ void filter(Shared& shared, float* z, int64_t V, const SamplingArgs& args) {
  float top = -INFINITY;
  for_logits<Aligned>(z, V, [&](int64_t, float logit) { top = larger(logit, top); });
  const float max = block_max(top, shared.max);
  if (args.top_k > 0 && args.top_k < V) keep_top_k<Aligned>(shared, z, V, max, args.top_k);
  if (args.top_p < 1.0f) keep_top_p<Aligned>(shared, z, V, max, args.top_p);
  if (args.min_p > 0.0f) keep_min_p<Aligned>(z, V, max, args.min_p);
}

// Ids [begin, end) and the sum of all before them.
struct Range {
  int64_t begin, end;
  double before;
};

// The first eighth of the range at whose end the sum passes the target; where none does, because eighths and their wholes are
// rounded apart, the last one that has a possible id.
__device__ Range part_of(Shared& shared, const float* z, float max, const Range& range, double target) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const int64_t whole = range.end - range.begin, share = (whole + kWarps - 1) / kWarps;
  const int64_t length = (share + kWarp - 1) / kWarp * kWarp, begin = range.begin + warp * length;
  const int64_t end = begin + length < range.end ? begin + length : range.end;
  double sum = 0.0;
#pragma unroll 8
  for (int64_t v = begin + lane; v < end; v += kWarp) sum = sum + static_cast<double>(exponential(z[v] - max));
  sum = lanes_sum(sum);
  if (lane == 0) shared.pieces[warp] = sum;
  __syncthreads();
  double before = range.before, passed = before;
  int chosen = 0;
  for (int piece = 0; piece < kWarps; ++piece) {
    const double to = before + shared.pieces[piece];
    if (shared.pieces[piece] > 0.0) chosen = piece, passed = before;
    if (to > target) break;
    before = to;
  }
  __syncthreads();
  const int64_t first = range.begin + chosen * length;
  return {first, first + length < range.end ? first + length : range.end, passed};
}

// Inverse of the cumulative distribution in id order: the first id at which the sum passes u * total.
__device__ int64_t draw(Shared& shared, const float* z, int64_t V, const SoftmaxSums& row, float u) {
  const double target = static_cast<double>(u) * static_cast<double>(row.sum);
  Range range{0, V, 0.0};
  while (range.end - range.begin > kWarp) range = part_of(shared, z, row.max, range, target);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t v = range.begin + lane;
  const double mass = v < range.end ? static_cast<double>(exponential(z[v] - row.max)) : 0.0;
  double upto = mass;
#pragma unroll
  for (int away = 1; away < kWarp; away *= 2) {
    const double below = __shfl_up_sync(kWholeWarp, upto, away);
    upto = lane < away ? upto : below + upto;
  }
  const bool possible = mass > 0.0;
  const unsigned passing = __ballot_sync(kWholeWarp, possible && range.before + upto > target);
  const unsigned lanes = __ballot_sync(kWholeWarp, possible);
  if (passing != 0) return range.begin + __ffs(passing) - 1;
  return lanes != 0 ? range.begin + kWarp - 1 - __clz(lanes) : range.begin;
}

template <bool Aligned>
__global__ void __launch_bounds__(kThreads) sample_kernel(int32_t* tokens, float* logp, float* sampler_logp, float* logits,
                                                          int64_t ld, const SamplingRow* rows, int64_t V) {
  Shared& shared = shared_memory<Shared>();
  const int64_t r = blockIdx.x;
  const SamplingRow row = rows[r];
  const SamplingArgs args = *row.args;
  float* z = logits + r * ld;
  const bool greedy = args.temperature == 0.0f;
  const float scale = greedy ? 1.0f : 1.0f / args.temperature;
  const SoftmaxSums policy = softmax_row<Aligned>(shared.sums, z, V, scale);
  penalise(z, scale, row, args);
  __syncthreads();
  exclude_banned(z, args);
  __syncthreads();
  if (row.allowed) exclude_others<Aligned>(z, V, row.allowed);
  SoftmaxSums sampler = policy;
  const bool filtered = args.banned_count > 0 || args.top_k > 0 || args.top_p < 1.0f || args.min_p > 0.0f ||
                        row.seen_count > 0 || row.allowed != nullptr;
  if (!greedy && filtered) {
    filter<Aligned>(shared, z, V, args);
    sampler = softmax_row<Aligned>(shared.sums, z, V, 1.0f);
  }
  __syncthreads();
  const int32_t best = greedy ? first_best(shared.best, z, V).id : 0;
  const int64_t token = !greedy ? draw(shared, z, V, sampler, row.u) : best == kNoId ? 0 : best;
  // The logit as it was before the penalties.
  if (threadIdx.x == 0) shared.logit = z[token];
  __syncthreads();
  for (int64_t i = threadIdx.x; i < row.seen_count; i += kThreads)
    if (row.seen[i] == token) shared.logit = row.scratch[i];
  __syncthreads();
  if (threadIdx.x != 0) return;
  tokens[r] = static_cast<int32_t>(token);
  logp[r] = shared.logit - row_lse(policy);
  sampler_logp[r] = greedy ? 0.0f : z[token] - row_lse(sampler);
}

}  // namespace

void sample(ThreadPool&, int32_t* tokens, float* logp, float* sampler_logp, float* logits, int64_t ld, const SamplingRow* rows,
            int64_t R, int64_t V) {
  with_flag(aligned_rows(ld, logits), [&]<bool aligned>(Flag<aligned>) {
    launch({"sample", {{"R", R}, {"V", V}}}, sample_kernel<aligned>,
           {.x = R, .threads = kThreads, .shared_bytes = sizeof(Shared)}, tokens, logp, sampler_logp, logits, ld, rows, V);
  });
}

}  // namespace zazen::cuda

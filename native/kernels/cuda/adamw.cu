// AdamW (kernels/cpu/adamw.cc has the formulas, whose bits these are). A thread takes eight elements, and a warp a block of
// moments in 8 bits. Limit: memory bandwidth; an element moves 32 bytes in f32, 24 with bf16 moments, 20 with 8-bit ones, and 4
// less with bf16 weights.
#include <cmath>

#include "kernels/cuda/block_scale.cuh"
#include "kernels/cuda/math.cuh"
#include "kernels/cuda/ops.h"

namespace zazen::cuda {
namespace {

// The factors of the update, rounded to float once.
struct Factors {
  float decay, gradient_scale, beta2, rest1, rest2, root_bias2, eps, step;

  explicit Factors(const AdamwArgs& args)
      : decay(static_cast<float>(1.0 - args.lr * args.weight_decay)),
        gradient_scale(static_cast<float>(args.gradient_scale)),
        beta2(static_cast<float>(args.beta2)),
        rest1(static_cast<float>(1.0 - args.beta1)),
        rest2(static_cast<float>(1.0 - args.beta2)),
        root_bias2(static_cast<float>(std::sqrt(args.bias2))),
        eps(static_cast<float>(args.eps)),
        step(static_cast<float>(args.lr / args.bias1)) {}
};

// What keys random bits: the number of the step, and of the first element.
struct Key {
  uint32_t step;
  int64_t first;
};
constexpr uint32_t kForWeights = 0x9E3779B9u;  // makes other bits of a noise, for weights beside moments

__device__ __forceinline__ uint32_t noise_of(const Key& key, int64_t i) {
  const auto element = static_cast<uint64_t>(key.first + i);
  return mixed(mixed(key.step ^ static_cast<uint32_t>(element >> 32)) + static_cast<uint32_t>(element));
}

// A bf16, up or down at random: bits are added below what is kept. A NaN stays one.
__device__ __forceinline__ float rounded(float value, uint32_t below) {
  const uint32_t bits = __float_as_uint(value);
  return __uint_as_float((value != value ? bits | 0x400000u : bits + below) & 0xFFFF0000u);
}

// f32 stays as it is. Half of the random bits of moments serve m, and half v.
__device__ __forceinline__ void round_moments(float*, Eight&, Eight&, const Key&, int64_t) {}
__device__ __forceinline__ void round_moments(bf16*, Eight& mean, Eight& square, const Key& key, int64_t at) {
#pragma unroll
  for (int i = 0; i < kEight; ++i) {
    const uint32_t noise = noise_of(key, at + i);
    mean.v[i] = rounded(mean.v[i], noise >> 16);
    square.v[i] = rounded(square.v[i], noise & 0xFFFF);
  }
}
__device__ __forceinline__ void round_weights(float*, Eight&, const Key&, int64_t) {}
__device__ __forceinline__ void round_weights(bf16*, Eight& weight, const Key& key, int64_t at) {
#pragma unroll
  for (int i = 0; i < kEight; ++i) weight.v[i] = rounded(weight.v[i], mixed(noise_of(key, at + i) ^ kForWeights) >> 16);
}

// The step of eight elements from `at` on: reads and writes weights and gradients; moments become the new ones.
template <bool Aligned, class W>
__device__ __forceinline__ void step_eight(W* w, float* g, Eight& mean, Eight& square, int64_t left, const Factors& f,
                                           const Key& key, int64_t at) {
  const Eight raw = load_eight<Aligned>(g + at, left), weight = load_eight<Aligned>(w + at, left);
  const Eight gradient = each([&](int i) { return raw.v[i] * f.gradient_scale; });
  mean = each([&](int i) { return fmaf(gradient.v[i] - mean.v[i], f.rest1, mean.v[i]); });
  square = each([&](int i) { return fmaf(gradient.v[i] * gradient.v[i], f.rest2, square.v[i] * f.beta2); });
  Eight moved = each([&](int i) {
    const float size = sqrtf(square.v[i]) / f.root_bias2 + f.eps;
    return weight.v[i] * f.decay - f.step * (mean.v[i] / size);
  });
  round_weights(w, moved, key, at);
  store_eight<Aligned>(w + at, moved, left);
  store_eight<Aligned>(g + at, each([](int) { return 0.0f; }), left);
}

template <bool Aligned, class W, class M>
__global__ void __launch_bounds__(kThreads)
    update_kernel(W* w, float* g, M* m, M* v, int64_t n, const Factors f, const Key key) {
  const int64_t at = first_element(), left = n - at;
  Eight mean = load_eight<Aligned>(m + at, left), square = load_eight<Aligned>(v + at, left);
  step_eight<Aligned>(w, g, mean, square, left, f, key, at);
  round_moments(m, mean, square, key, at);
  store_eight<Aligned>(m + at, mean, left);
  store_eight<Aligned>(v + at, square, left);
}

// ---- moments in blocks of codes: a block is a warp's

static_assert(kMomentBlock == kWarp * kEight, "a warp has a block");

struct Maps {
  DynamicMap mean, square;
};

template <bool Aligned>
__device__ __forceinline__ Eight load_codes(const uint8_t* codes, int64_t left, const DynamicMap& map, float largest) {
  uint2 both{0, 0};
  if (Aligned && left >= kEight)
    both = *reinterpret_cast<const uint2*>(codes);
  else
    for (int i = 0; i < kEight && i < left; ++i) (i < 4 ? both.x : both.y) |= static_cast<unsigned>(codes[i]) << i % 4 * 8;
  return each([&](int i) { return map.values[(i < 4 ? both.x : both.y) >> i % 4 * 8 & 0xFF] * largest; });
}

// The rank of a magnitude, which is at most 1 (about).
__device__ __forceinline__ float rank_of(float size, const DynamicMap& map) {
  int decade = 0;
#pragma unroll
  for (int i = 1; i < DynamicMap::kDecades; ++i) decade += size < map.from[i] ? 0 : 1;
  const float rank = rintf(fmaf(size, map.slope[decade], map.offset[decade]));
  return size < map.from[0] ? 0.0f : smaller(larger(rank, map.first[decade]), map.last[decade]);
}
template <bool Signed>
__device__ __forceinline__ unsigned code_of(float x, const DynamicMap& map) {
  const float rank = rank_of(fabsf(x), map);
  if (Signed && x < 0.0f) return static_cast<unsigned>(static_cast<float>(DynamicMap::kZero) - rank);
  const float found = x < map.one_from ? rank : map.one;
  return static_cast<unsigned>(Signed ? static_cast<float>(DynamicMap::kZero) + found : found);
}

// Codes of eight of the warp's numbers; those past the end are zero. Every lane has the block's largest magnitude.
template <bool Signed, bool Aligned>
__device__ __forceinline__ float store_codes(uint8_t* codes, const Eight& x, int64_t left, const DynamicMap& map) {
  const BlockScale scale = block_scale<kWarp>(x);
  unsigned code[kEight];
#pragma unroll
  for (int i = 0; i < kEight; ++i) code[i] = code_of<Signed>(x.v[i] * scale.inverse, map);
  if (Aligned && left >= kEight) {
    const uint2 both{code[0] | code[1] << 8 | code[2] << 16 | code[3] << 24,
                     code[4] | code[5] << 8 | code[6] << 16 | code[7] << 24};
    *reinterpret_cast<uint2*>(codes) = both;
    return scale.largest;
  }
  for (int i = 0; i < kEight && i < left; ++i) codes[i] = static_cast<uint8_t>(code[i]);
  return scale.largest;
}

constexpr int64_t kBlocksOfWarp = 8;  // of moments, so that the maps are read once for many

template <bool Aligned, class W>
__global__ void __launch_bounds__(kThreads)
    update_blocks_kernel(W* w, float* g, const BlockMoments moments, int64_t n, const Factors f, const Key key,
                         const __grid_constant__ Maps of) {
  Maps& maps = shared_memory<Maps>();
  const auto* from = reinterpret_cast<const float*>(&of);
  for (int i = static_cast<int>(threadIdx.x); i < static_cast<int>(sizeof(Maps) / sizeof(float)); i += kThreads)
    reinterpret_cast<float*>(&maps)[i] = from[i];
  __syncthreads();
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kBlocksOfWarp * kWarps + threadIdx.x / kWarp;
  for (int64_t i = 0; i < kBlocksOfWarp; ++i) {
    const int64_t block = first + i * kWarps, at = block * kMomentBlock + lane * kEight, left = n - at;
    if (block * kMomentBlock >= n) return;
    Eight mean = load_codes<Aligned>(moments.m + at, left, maps.mean, moments.m_largest[block]);
    Eight square = load_codes<Aligned>(moments.v + at, left, maps.square, moments.v_largest[block]);
    step_eight<Aligned>(w, g, mean, square, left, f, key, at);
    for (int j = 0; j < kEight; ++j)
      if (j >= left) mean.v[j] = square.v[j] = 0.0f;
    const float means = store_codes<true, Aligned>(moments.m + at, mean, left, maps.mean);
    const float squares = store_codes<false, Aligned>(moments.v + at, square, left, maps.square);
    __syncwarp();  // all have read the largest magnitudes
    if (lane != 0) continue;
    moments.m_largest[block] = means;
    moments.v_largest[block] = squares;
  }
}

}  // namespace

// Panels are the CPU's: here weights lie as their gradients do.
void adamw(ThreadPool&, TensorRef w, float* g, TensorRef m, TensorRef v, int64_t n, const AdamwArgs& args) {
  with_types(w, m, [&]<class W, class M>(W* weights, M* means) {
    with_flag(all_aligned(weights, g, means, v.as<M>()), [&]<bool aligned>(Flag<aligned>) {
      launch({"adamw", {{"n", n}, {"step", args.step}}}, update_kernel<aligned, W, M>, flat_grid(n), weights, g, means,
             v.as<M>(), n, Factors(args), Key{static_cast<uint32_t>(args.step), args.first});
    });
  });
}

void adamw_8bit(ThreadPool&, TensorRef w, float* g, const BlockMoments& moments, int64_t n, const AdamwArgs& args) {
  with_type(w, [&]<class W>(W* weights) {
    with_flag(all_aligned(weights, g, moments.m, moments.v), [&]<bool aligned>(Flag<aligned>) {
      launch({"adamw_8bit", {{"n", n}, {"step", args.step}}}, update_blocks_kernel<aligned, W>,
             {.x = ceil_div(n, kMomentBlock * kBlocksOfWarp * kWarps), .threads = kThreads, .shared_bytes = sizeof(Maps)},
             weights, g, moments, n, Factors(args), Key{static_cast<uint32_t>(args.step), args.first},
             Maps{kSignedMap, kUnsignedMap});
    });
  });
}

}  // namespace zazen::cuda

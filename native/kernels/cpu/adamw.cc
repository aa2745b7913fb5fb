// AdamW with decoupled weight decay (Loshchilov and Hutter 2019), in the order of operations of torch.optim.AdamW. Weights and
// moments may be kept in fewer bits: they are widened, updated in f32, and rounded again.
#include "kernels/cpu/block_scale.h"
#include "kernels/cpu/ops.h"

namespace zazen::ZAZEN_ISA {
namespace {

// Moments as they lie in memory. f32 is kept as it is.
struct F32Moments {
  float *m, *v;
  F32x16 mean(int64_t i, auto lanes) const { return lanes.load(m + i); }
  F32x16 square(int64_t i, auto lanes) const { return lanes.load(v + i); }
  void put(int64_t i, auto lanes, F32x16 mean, F32x16 square) const {
    lanes.store(m + i, mean);
    lanes.store(v + i, square);
  }
  F32Moments from(int64_t i) const { return {m + i, v + i}; }
};

constexpr uint32_t kMagnitude = 0x7FFFFFFF, kInfinity = 0x7F800000;  // bits of floats

// A mix of 32 bits in which every input bit reaches every output bit (Wellons 2018, "lowbias32").
inline uint32_t mixed(uint32_t x) {
  x = (x ^ x >> 16) * 0x7FEB352Du;
  x = (x ^ x >> 15) * 0x846CA68Bu;
  return x ^ x >> 16;
}

// What keys random bits: the number of the step, and of the first element.
struct Key {
  uint32_t step;
  int64_t first;
  Key from(int64_t i) const { return {step, first + i}; }
  uint32_t noise(int64_t i) const {
    const auto element = static_cast<uint64_t>(first + i);
    return mixed(mixed(step ^ static_cast<uint32_t>(element >> 32)) + static_cast<uint32_t>(element));
  }
};
constexpr uint32_t kForWeights = 0x9E3779B9u;  // makes other bits of a noise, for weights beside moments

// The bits of a bf16, in the upper half: random bits are added below what is kept. A NaN stays one.
inline uint32_t rounded(uint32_t bits, uint32_t below) {
  return (bits & kMagnitude) > kInfinity ? (bits | static_cast<uint32_t>(kQuietNan)) & kUpperHalf : (bits + below) & kUpperHalf;
}

// bf16 moments, rounded up or down at random. Half of the random bits serve m, and half v.
struct Bf16Moments {
  bf16 *m, *v;
  Key key;
  F32x16 mean(int64_t i, auto lanes) const { return lanes.load(m + i); }
  F32x16 square(int64_t i, auto lanes) const { return lanes.load(v + i); }
  void put(int64_t i, auto lanes, F32x16 mean, F32x16 square) const {
    uint32_t means[kLanes], squares[kLanes];
    store(reinterpret_cast<float*>(means), mean);
    store(reinterpret_cast<float*>(squares), square);
    for (int64_t j = 0; j < kLanes; ++j) {
      const uint32_t noise = key.noise(i + j);
      means[j] = rounded(means[j], noise >> 16);
      squares[j] = rounded(squares[j], noise & 0xFFFF);
    }
    lanes.store(m + i, load(reinterpret_cast<const float*>(means)));
    lanes.store(v + i, load(reinterpret_cast<const float*>(squares)));
  }
  Bf16Moments from(int64_t i) const { return {m + i, v + i, key.from(i)}; }
};

// The factors of the update, rounded to float once.
struct Factors {
  F32x16 decay, gradient_scale, beta2, rest1, rest2, root_bias2, eps, step;

  explicit Factors(const AdamwArgs& args)
      : decay(set1(static_cast<float>(1.0 - args.lr * args.weight_decay))),
        gradient_scale(set1(static_cast<float>(args.gradient_scale))),
        beta2(set1(static_cast<float>(args.beta2))),
        rest1(set1(static_cast<float>(1.0 - args.beta1))),
        rest2(set1(static_cast<float>(1.0 - args.beta2))),
        root_bias2(set1(static_cast<float>(__builtin_sqrt(args.bias2)))),
        eps(set1(static_cast<float>(args.eps))),
        step(set1(static_cast<float>(args.lr / args.bias1))) {}
};

// w -= lr wd w; m += (1 - beta1) (g - m); v = beta2 v + (1 - beta2) g^2; w -= lr / bias1 * m / (sqrt(v) / sqrt(bias2) + eps);
// then g = 0.
template <class Moments>
void update(float* w, float* g, const Moments& moments, int64_t n, const Factors& f) {
  for_lanes(n, [&](int64_t i, auto lanes) {
    const F32x16 gradient = lanes.load(g + i) * f.gradient_scale, before = moments.mean(i, lanes);
    const F32x16 mean = fma(gradient - before, f.rest1, before);
    const F32x16 square = fma(gradient * gradient, f.rest2, moments.square(i, lanes) * f.beta2);
    const F32x16 size = sqrt(square) / f.root_bias2 + f.eps;
    lanes.store(g + i, zero());
    moments.put(i, lanes, mean, square);
    lanes.store(w + i, lanes.load(w + i) * f.decay - f.step * (mean / size));
  });
}

// Where element i of a gradient lies among bf16 weights: in the same place, or in panels of pairs, where two rows of a panel
// lie side by side.
inline int64_t weight_place(int64_t i, bool panels) {
  const int64_t row = i / kPanel % 2, column = i % kPanel;
  return panels ? i - row * kPanel - column + 2 * column + row : i;
}

// The update of bf16 weights, a block at a time: n elements from element `at` of the whole, at multiples of a block.
template <class Moments>
void update_short(bf16* w, float* g, const Moments& moments, int64_t n, const Factors& f, const Key& key, bool panels) {
  for (int64_t begin = 0; begin < n; begin += kMomentBlock) {
    const int64_t count = n - begin < kMomentBlock ? n - begin : kMomentBlock;
    bf16* short_weights = w + begin;
    float wide[kMomentBlock];
    for (int64_t i = 0; i < count; ++i) wide[i] = bf16_to_f32(short_weights[weight_place(i, panels)].bits);
    update(wide, g + begin, moments.from(begin), count, f);
    for (int64_t i = 0; i < count; ++i) {
      const uint32_t noise = mixed(key.noise(begin + i) ^ kForWeights);
      const uint32_t bits = rounded(std::bit_cast<uint32_t>(wide[i]), noise >> 16);
      short_weights[weight_place(i, panels)] = {static_cast<uint16_t>(bits >> 16)};
    }
  }
}

template <class Moments>
void update_weights(TensorRef w, float* g, const Moments& moments, int64_t n, const Factors& f, const Key& key, bool panels) {
  if (w.type == DType::bf16) return update_short(w.as<bf16>(), g, moments, n, f, key, panels);
  update(w.as<float>(), g, moments, n, f);
}

// ---- moments in blocks of codes

void read_codes(float* x, const uint8_t* codes, float largest, const DynamicMap& map, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] = map.values[codes[i]] * largest;
}

// The rank of a magnitude, which is at most 1 (about).
inline F32x16 rank_of(F32x16 size, const DynamicMap& map) {
  F32x16 slope = set1(map.slope[0]), offset = set1(map.offset[0]), first = set1(map.first[0]), last = set1(map.last[0]);
  for (int i = 1; i < DynamicMap::kDecades; ++i) {
    const F32x16 from = set1(map.from[i]);
    slope = select_less(size, from, slope, set1(map.slope[i]));
    offset = select_less(size, from, offset, set1(map.offset[i]));
    first = select_less(size, from, first, set1(map.first[i]));
    last = select_less(size, from, last, set1(map.last[i]));
  }
  const F32x16 rank = min(max(round_even(fma(size, slope, offset)), first), last);
  return select_less(size, set1(map.from[0]), zero(), rank);
}
inline F32x16 signed_code(F32x16 x) {
  const F32x16 rank = rank_of(magnitude(x), kSignedMap), centre = set1(DynamicMap::kZero);
  return select_less(x, zero(), centre - rank, centre + select_less(x, set1(kSignedMap.one_from), rank, set1(kSignedMap.one)));
}
inline F32x16 unsigned_code(F32x16 x) {
  return select_less(x, set1(kUnsignedMap.one_from), rank_of(x, kUnsignedMap), set1(kUnsignedMap.one));
}

// Codes of a block's n numbers; returns their largest magnitude.
template <class Code>
float write_codes(uint8_t* codes, const float* x, const Code& code, int64_t n) {
  const BlockScale scale = block_scale(x, n);
  float lanes_of[kMomentBlock];
  for_lanes(n, [&](int64_t i, auto lanes) { store(lanes_of + i, code(lanes.load(x + i) * set1(scale.inverse))); });
  for (int64_t i = 0; i < n; ++i) codes[i] = static_cast<uint8_t>(lanes_of[i]);
  return scale.largest;
}

}  // namespace

void adamw(ThreadPool& pool, TensorRef w, float* g, TensorRef m, TensorRef v, int64_t n, const AdamwArgs& args) {
  const Factors factors(args);
  parallel_pieces(pool, n, task_items(1, kMomentBlock), [&](int64_t begin, int64_t end) {
    const Key key{static_cast<uint32_t>(args.step), args.first + begin};
    const TensorRef means = m + begin, squares = v + begin;
    const auto start = [&](const auto& moments) {
      update_weights(w + begin, g + begin, moments, end - begin, factors, key, args.panels);
    };
    if (m.type == DType::f32) return start(F32Moments{means.as<float>(), squares.as<float>()});
    start(Bf16Moments{means.as<bf16>(), squares.as<bf16>(), key});
  });
}

void adamw_8bit(ThreadPool& pool, TensorRef w, float* g, const BlockMoments& moments, int64_t n, const AdamwArgs& args) {
  const Factors factors(args);
  parallel_for(pool, ceil_div(n, kMomentBlock), [&](int64_t block) {
    const int64_t at = block * kMomentBlock, count = n - at < kMomentBlock ? n - at : kMomentBlock;
    float means[kMomentBlock], squares[kMomentBlock];
    read_codes(means, moments.m + at, moments.m_largest[block], kSignedMap, count);
    read_codes(squares, moments.v + at, moments.v_largest[block], kUnsignedMap, count);
    const Key key{static_cast<uint32_t>(args.step), args.first + at};
    update_weights(w + at, g + at, F32Moments{means, squares}, count, factors, key, args.panels);
    moments.m_largest[block] = write_codes(moments.m + at, means, signed_code, count);
    moments.v_largest[block] = write_codes(moments.v + at, squares, unsigned_code, count);
  });
}

}  // namespace zazen::ZAZEN_ISA

// Sixteen f32 lanes with the same arithmetic on every instruction set: one AVX-512 register, two AVX2 registers, or an array.
// Kernels are written once against this type and compiled once for each instruction set, in a namespace of its own
// (ZAZEN_ISA), so that the linker never shares an inline function between them.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#ifndef ZAZEN_ISA
#error "compile kernel files with -DZAZEN_ISA=<namespace>"
#endif

namespace zazen::ZAZEN_ISA {

constexpr int64_t kLanes = 16;
constexpr float kRound = 12582912.0f;          // 1.5 * 2^23: x + kRound holds x, rounded to an integer, in its lowest bits
constexpr int32_t kHalfRootBits = 0x3F3504F3;  // of sqrt(1/2)

#if defined(__AVX512F__)

struct F32x16 {
  __m512 v;
};
// Of the first n lanes, without a branch: at the edge of a causal mask it would be a coin toss.
inline __mmask16 lane_mask(int64_t n) {
  const int64_t positive = n > 0 ? n : 0, lanes = positive < kLanes ? positive : kLanes;
  return static_cast<__mmask16>(0xFFFFu >> (kLanes - lanes));
}
inline F32x16 load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline F32x16 load(const float* p, int64_t n) { return {_mm512_maskz_loadu_ps(lane_mask(n), p)}; }
inline void store(float* p, F32x16 a) { _mm512_storeu_ps(p, a.v); }
inline void store(float* p, F32x16 a, int64_t n) { _mm512_mask_storeu_ps(p, lane_mask(n), a.v); }
inline F32x16 set1(float a) { return {_mm512_set1_ps(a)}; }
inline F32x16 operator+(F32x16 a, F32x16 b) { return {_mm512_add_ps(a.v, b.v)}; }
inline F32x16 operator-(F32x16 a, F32x16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline F32x16 operator*(F32x16 a, F32x16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline F32x16 operator/(F32x16 a, F32x16 b) { return {_mm512_div_ps(a.v, b.v)}; }
inline F32x16 fma(F32x16 a, F32x16 b, F32x16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline F32x16 sqrt(F32x16 a) { return {_mm512_sqrt_ps(a.v)}; }
// As the instruction: the second operand when either is NaN.
inline F32x16 max(F32x16 a, F32x16 b) { return {_mm512_max_ps(a.v, b.v)}; }
inline F32x16 min(F32x16 a, F32x16 b) { return {_mm512_min_ps(a.v, b.v)}; }
inline F32x16 round_even(F32x16 a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
// 2^n for integral n in [-127, 127]; -127 gives zero.
inline F32x16 exp2_integral(F32x16 n) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n.v), _mm512_set1_epi32(127)), 23))};
}
// p * 2^n for p and the product normal, where `shifted` is n + kRound.
inline F32x16 add_exponent(F32x16 p, F32x16 shifted) {
  return {
      _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p.v), _mm512_slli_epi32(_mm512_castps_si512(shifted.v), 23)))};
}
// x - n for |x| < 2^22 and the integer n nearest to it, where `shifted` is n + kRound.
inline F32x16 past_integer(F32x16 x, F32x16) { return {_mm512_reduce_ps(x.v, _MM_FROUND_TO_NEAREST_INT)}; }
// The n of x = m * 2^n with m in [sqrt(1/2), sqrt(2)), for x positive and normal.
inline F32x16 exponent(F32x16 x) {
  return {
      _mm512_cvtepi32_ps(_mm512_srai_epi32(_mm512_sub_epi32(_mm512_castps_si512(x.v), _mm512_set1_epi32(kHalfRootBits)), 23))};
}
// Lanes at or past n take `other`.
inline F32x16 keep(F32x16 a, int64_t n, F32x16 other) { return {_mm512_mask_mov_ps(other.v, lane_mask(n), a.v)}; }
// a < b ? x : y
inline F32x16 select_less(F32x16 a, F32x16 b, F32x16 x, F32x16 y) {
  return {_mm512_mask_mov_ps(y.v, _mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), x.v)};
}
// Lane i is a[index[i]], each index in 0 .. 15.
inline F32x16 permute(F32x16 a, const int32_t* index) { return {_mm512_permutexvar_ps(_mm512_loadu_si512(index), a.v)}; }

#elif defined(__AVX2__)

struct F32x16 {
  __m256 lo, hi;
};
inline __m256i half_mask(int64_t n) {
  const int64_t positive = n > 0 ? n : 0, lanes = positive < 8 ? positive : 8;  // whatever n is, it fits 32 bits
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(lanes)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline F32x16 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline F32x16 load(const float* p, int64_t n) {
  return {_mm256_maskload_ps(p, half_mask(n)), _mm256_maskload_ps(p + 8, half_mask(n - 8))};
}
inline void store(float* p, F32x16 a) {
  _mm256_storeu_ps(p, a.lo);
  _mm256_storeu_ps(p + 8, a.hi);
}
inline void store(float* p, F32x16 a, int64_t n) {
  _mm256_maskstore_ps(p, half_mask(n), a.lo);
  _mm256_maskstore_ps(p + 8, half_mask(n - 8), a.hi);
}
inline F32x16 set1(float a) { return {_mm256_set1_ps(a), _mm256_set1_ps(a)}; }
inline F32x16 operator+(F32x16 a, F32x16 b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
inline F32x16 operator-(F32x16 a, F32x16 b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
inline F32x16 operator*(F32x16 a, F32x16 b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
inline F32x16 operator/(F32x16 a, F32x16 b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
inline F32x16 fma(F32x16 a, F32x16 b, F32x16 c) {
  return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
inline F32x16 sqrt(F32x16 a) { return {_mm256_sqrt_ps(a.lo), _mm256_sqrt_ps(a.hi)}; }
inline F32x16 max(F32x16 a, F32x16 b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
inline F32x16 min(F32x16 a, F32x16 b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
inline F32x16 round_even(F32x16 a) {
  constexpr int kMode = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(a.lo, kMode), _mm256_round_ps(a.hi, kMode)};
}
inline __m256 exp2_half(__m256 n) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
inline F32x16 exp2_integral(F32x16 n) { return {exp2_half(n.lo), exp2_half(n.hi)}; }
inline __m256 add_exponent_half(__m256 p, __m256 shifted) {
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), _mm256_slli_epi32(_mm256_castps_si256(shifted), 23)));
}
inline F32x16 add_exponent(F32x16 p, F32x16 shifted) {
  return {add_exponent_half(p.lo, shifted.lo), add_exponent_half(p.hi, shifted.hi)};
}
inline F32x16 past_integer(F32x16 x, F32x16 shifted) { return x - (shifted - set1(kRound)); }
inline __m256 exponent_half(__m256 x) {
  return _mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_sub_epi32(_mm256_castps_si256(x), _mm256_set1_epi32(kHalfRootBits)), 23));
}
inline F32x16 exponent(F32x16 x) { return {exponent_half(x.lo), exponent_half(x.hi)}; }
inline F32x16 keep(F32x16 a, int64_t n, F32x16 other) {
  return {_mm256_blendv_ps(other.lo, a.lo, _mm256_castsi256_ps(half_mask(n))),
          _mm256_blendv_ps(other.hi, a.hi, _mm256_castsi256_ps(half_mask(n - 8)))};
}
inline F32x16 select_less(F32x16 a, F32x16 b, F32x16 x, F32x16 y) {
  return {_mm256_blendv_ps(y.lo, x.lo, _mm256_cmp_ps(a.lo, b.lo, _CMP_LT_OQ)),
          _mm256_blendv_ps(y.hi, x.hi, _mm256_cmp_ps(a.hi, b.hi, _CMP_LT_OQ))};
}
inline __m256 permute_half(F32x16 a, const int32_t* index) {
  const __m256i at = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(index));
  const __m256 high = _mm256_castsi256_ps(_mm256_slli_epi32(at, 28));  // the sign bit of index 8 .. 15
  return _mm256_blendv_ps(_mm256_permutevar8x32_ps(a.lo, at), _mm256_permutevar8x32_ps(a.hi, at), high);
}
inline F32x16 permute(F32x16 a, const int32_t* index) { return {permute_half(a, index), permute_half(a, index + 8)}; }

#else

struct F32x16 {
  float v[kLanes];
};
template <class F>
inline F32x16 each(F f) {
  F32x16 r;
  for (int64_t i = 0; i < kLanes; ++i) r.v[i] = f(i);
  return r;
}
inline F32x16 load(const float* p) {
  return each([=](int64_t i) { return p[i]; });
}
inline F32x16 load(const float* p, int64_t n) {
  return each([=](int64_t i) { return i < n ? p[i] : 0.0f; });
}
inline void store(float* p, F32x16 a) { std::memcpy(p, a.v, sizeof a.v); }
inline void store(float* p, F32x16 a, int64_t n) {
  for (int64_t i = 0; i < kLanes && i < n; ++i) p[i] = a.v[i];
}
inline F32x16 set1(float a) {
  return each([=](int64_t) { return a; });
}
inline F32x16 operator+(F32x16 a, F32x16 b) {
  return each([&](int64_t i) { return a.v[i] + b.v[i]; });
}
inline F32x16 operator-(F32x16 a, F32x16 b) {
  return each([&](int64_t i) { return a.v[i] - b.v[i]; });
}
inline F32x16 operator*(F32x16 a, F32x16 b) {
  return each([&](int64_t i) { return a.v[i] * b.v[i]; });
}
inline F32x16 operator/(F32x16 a, F32x16 b) {
  return each([&](int64_t i) { return a.v[i] / b.v[i]; });
}
inline F32x16 fma(F32x16 a, F32x16 b, F32x16 c) {
  return each([&](int64_t i) { return __builtin_fmaf(a.v[i], b.v[i], c.v[i]); });
}
inline F32x16 sqrt(F32x16 a) {
  return each([&](int64_t i) { return __builtin_sqrtf(a.v[i]); });
}
inline F32x16 max(F32x16 a, F32x16 b) {
  return each([&](int64_t i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
}
inline F32x16 min(F32x16 a, F32x16 b) {
  return each([&](int64_t i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
}
inline F32x16 round_even(F32x16 a) {
  return each([&](int64_t i) { return __builtin_rintf(a.v[i]); });
}
inline F32x16 exp2_integral(F32x16 n) {
  return each([&](int64_t i) {
    const int32_t bits =
        static_cast<int32_t>(static_cast<uint32_t>(static_cast<int32_t>(n.v[i] == n.v[i] ? n.v[i] : 0.0f) + 127) << 23);
    float r;
    std::memcpy(&r, &bits, sizeof r);
    return r;
  });
}
inline int32_t bits_of(float a) {
  int32_t bits;
  std::memcpy(&bits, &a, sizeof bits);
  return bits;
}
inline F32x16 add_exponent(F32x16 p, F32x16 shifted) {
  return each([&](int64_t i) {
    const uint32_t bits = static_cast<uint32_t>(bits_of(p.v[i])) + (static_cast<uint32_t>(bits_of(shifted.v[i])) << 23);
    float r;
    std::memcpy(&r, &bits, sizeof r);
    return r;
  });
}
inline F32x16 past_integer(F32x16 x, F32x16 shifted) { return x - (shifted - set1(kRound)); }
inline F32x16 exponent(F32x16 x) {
  return each([&](int64_t i) { return static_cast<float>((bits_of(x.v[i]) - kHalfRootBits) >> 23); });
}
inline F32x16 keep(F32x16 a, int64_t n, F32x16 other) {
  return each([&](int64_t i) { return i < n ? a.v[i] : other.v[i]; });
}
inline F32x16 select_less(F32x16 a, F32x16 b, F32x16 x, F32x16 y) {
  return each([&](int64_t i) { return a.v[i] < b.v[i] ? x.v[i] : y.v[i]; });
}
inline F32x16 permute(F32x16 a, const int32_t* index) {
  return each([&](int64_t i) { return a.v[index[i]]; });
}

#endif

inline F32x16 zero() { return set1(0.0f); }
inline F32x16 magnitude(F32x16 x) { return max(x, zero() - x); }

// The fixed tree over the lanes: lane i is joined with lane i + 8, then + 4, + 2, + 1. The maximum is x > y ? x : y.
#if defined(__AVX2__)
#if defined(__AVX512F__)
inline __m256 lower(F32x16 a) { return _mm512_castps512_ps256(a.v); }
inline __m256 upper(F32x16 a) { return _mm512_extractf32x8_ps(a.v, 1); }
#else
inline __m256 lower(F32x16 a) { return a.lo; }
inline __m256 upper(F32x16 a) { return a.hi; }
#endif
inline float sum(F32x16 a) {
  const __m256 h = _mm256_add_ps(lower(a), upper(a));
  const __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  const __m128 d = _mm_add_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_add_ss(d, _mm_movehdup_ps(d)));
}
inline float max(F32x16 a) {
  const __m256 h = _mm256_max_ps(lower(a), upper(a));
  const __m128 q = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  const __m128 d = _mm_max_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_max_ss(d, _mm_movehdup_ps(d)));
}
#else
template <class Op>
inline float fold(F32x16 a, Op op) {
  for (int64_t half = kLanes / 2; half > 0; half /= 2)
    for (int64_t i = 0; i < half; ++i) a.v[i] = op(a.v[i], a.v[i + half]);
  return a.v[0];
}
inline float sum(F32x16 a) {
  return fold(a, [](float x, float y) { return x + y; });
}
inline float max(F32x16 a) {
  return fold(a, [](float x, float y) { return x > y ? x : y; });
}
#endif

constexpr float kExpLowest = -87.33654f;  // below, the result would be subnormal: zero instead
constexpr float kExpHighest = 88.3f;      // above, 2^n would overflow: clamped, so the result is at most 2.2e38

// e^x: x = n ln 2 + r, |r| <= ln 2 / 2, polynomial of degree 6 in r (about 1 ulp). exp(0) is exactly 1; NaN stays NaN.
inline F32x16 exp(F32x16 x) {
  const F32x16 bounded = min(set1(kExpHighest), max(set1(kExpLowest), x));
  const F32x16 n = round_even(bounded * set1(1.44269504f));
  F32x16 r = fma(n, set1(-0.693359375f), bounded);
  r = fma(n, set1(2.12194440e-4f), r);
  F32x16 p = set1(1.9875691500e-4f);
  p = fma(p, r, set1(1.3981999507e-3f));
  p = fma(p, r, set1(8.3334519073e-3f));
  p = fma(p, r, set1(4.1665795894e-2f));
  p = fma(p, r, set1(1.6666665459e-1f));
  p = fma(p, r, set1(5.0000001201e-1f));
  p = fma(p, r * r, r) + set1(1.0f);
  return select_less(x, set1(kExpLowest), zero(), p * exp2_integral(n));
}
inline float exp(float x) {
  float lane[kLanes];
  store(lane, exp(set1(x)));
  return lane[0];
}

constexpr float kExp2Lowest = -100.0f;  // below, the result stays at 2^-100, whose products with usual numbers are normal

// 2^x for x <= 0, or not far above: x = n + r, |r| <= 1/2, minimax polynomial of degree 5 in r (about 1 ulp). exp2(0) is
// exactly 1; NaN stays NaN.
inline F32x16 exp2(F32x16 x) {
  const F32x16 bounded = max(set1(kExp2Lowest), x);
  const F32x16 shifted = bounded + set1(kRound);
  const F32x16 r = past_integer(bounded, shifted);
  F32x16 p = set1(1.326472731e-3f);
  p = fma(p, r, set1(9.671512991e-3f));
  p = fma(p, r, set1(5.550733581e-2f));
  p = fma(p, r, set1(2.402224243e-1f));
  p = fma(p, r, set1(6.931470037e-1f));
  return add_exponent(fma(p, r, set1(1.0f)), shifted);
}

constexpr float kLn2 = 0.693147182f, kLog2E = 1.44269504f;

// Natural logarithm of x * 2^shift for positive normal x: x = m 2^n, polynomial of degree 9 in m - 1 (Cephes).
inline F32x16 log_shifted(F32x16 x, F32x16 shift) {
  const F32x16 n = exponent(x), f = add_exponent(x, set1(kRound) - n) - set1(1.0f);
  F32x16 p = set1(7.0376836292e-2f);
  p = fma(p, f, set1(-1.1514610310e-1f));
  p = fma(p, f, set1(1.1676998740e-1f));
  p = fma(p, f, set1(-1.2420140846e-1f));
  p = fma(p, f, set1(1.4249322787e-1f));
  p = fma(p, f, set1(-1.6668057665e-1f));
  p = fma(p, f, set1(2.0000714765e-1f));
  p = fma(p, f, set1(-2.4999993993e-1f));
  p = fma(p, f, set1(3.3333331174e-1f));
  p = fma(fma(p, f, set1(-0.5f)), f * f, f);
  return fma(shift, set1(kLn2), fma(n, set1(kLn2), p));
}

}  // namespace zazen::ZAZEN_ISA

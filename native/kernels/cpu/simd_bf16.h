// bf16 lanes load as f32 and are rounded to nearest, ties to even, when stored. A pair of bf16 in a lane's 32 bits is a word:
//   pair_bf16(first, second): both rounded, the first in the upper half
//   fma_pairs(a, b, c): c + a1 b1, then + a2 b2, of words (a1, a2) and (b1, b2): two fused multiply-adds that take subnormal
//     operands for zero and make zero of subnormal results. Where no instruction does that, FlushSubnormals must be in force.
#pragma once

#include "core/dtype.h"
#include "kernels/cpu/simd.h"

namespace zazen::ZAZEN_ISA {

constexpr uint32_t kUpperHalf = 0xFFFF0000;
constexpr int32_t kQuietNan = 0x400000;
constexpr float kLeastNormal = 1.17549435e-38f;

#if defined(__AVX512F__)

inline F32x16 widen(__m256i a) { return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(a), 16))}; }
inline F32x16 load(const bf16* p) { return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
inline F32x16 load(const bf16* p, int64_t n) { return widen(_mm256_maskz_loadu_epi16(lane_mask(n), p)); }
// The bits of the bf16 nearest to each lane, in the upper half of the lane; those in the lower half have no use.
inline __m512i round_bf16(F32x16 a) {
  const __m512i bits = _mm512_castps_si512(a.v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
  const __mmask16 nan = _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q);
  return _mm512_mask_or_epi32(up, nan, bits, _mm512_set1_epi32(kQuietNan));
}
inline __m256i narrow(F32x16 a) { return _mm512_cvtepi32_epi16(_mm512_srli_epi32(round_bf16(a), 16)); }
inline void store(bf16* p, F32x16 a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow(a)); }
inline void store(bf16* p, F32x16 a, int64_t n) { _mm256_mask_storeu_epi16(p, lane_mask(n), narrow(a)); }
inline F32x16 pair_bf16(F32x16 first, F32x16 second) {
  const __m512i low = _mm512_srli_epi32(round_bf16(second), 16);
  return {_mm512_castsi512_ps(_mm512_or_si512(_mm512_and_si512(round_bf16(first), _mm512_set1_epi32(kUpperHalf)), low))};
}
#if defined(__AVX512BF16__)
inline F32x16 fma_pairs(F32x16 a, F32x16 b, F32x16 c) {
  return {_mm512_dpbf16_ps(c.v, (__m512bh)_mm512_castps_si512(a.v), (__m512bh)_mm512_castps_si512(b.v))};
}
#else
inline F32x16 upper_half(F32x16 a) {
  return {_mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(a.v), _mm512_set1_epi32(kUpperHalf)))};
}
inline F32x16 lower_half(F32x16 a) { return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(a.v), 16))}; }
#endif

#elif defined(__AVX2__)

inline __m256 widen(__m128i a) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(a), 16)); }
inline F32x16 load(const bf16* p) {
  const auto* at = reinterpret_cast<const __m128i*>(p);
  return {widen(_mm_loadu_si128(at)), widen(_mm_loadu_si128(at + 1))};
}
inline F32x16 load(const bf16* p, int64_t n) {
  if (n >= kLanes) return load(p);
  bf16 lanes[kLanes] = {};
  for (int64_t i = 0; i < n; ++i) lanes[i] = p[i];
  return load(lanes);
}
// The bits of the bf16 nearest to each lane, in the upper half of the lane; those in the lower half have no use.
inline __m256i round_half(__m256 a) {
  const __m256i bits = _mm256_castps_si256(a);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i up = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF)));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q));
  return _mm256_blendv_epi8(up, _mm256_or_si256(bits, _mm256_set1_epi32(kQuietNan)), nan);
}
inline __m256i narrow(F32x16 a) {
  const __m256i lo = _mm256_srli_epi32(round_half(a.lo), 16), hi = _mm256_srli_epi32(round_half(a.hi), 16);
  return _mm256_permute4x64_epi64(_mm256_packus_epi32(lo, hi), 0xD8);
}
inline void store(bf16* p, F32x16 a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow(a)); }
inline void store(bf16* p, F32x16 a, int64_t n) {
  if (n >= kLanes) return store(p, a);
  bf16 lanes[kLanes];
  store(lanes, a);
  for (int64_t i = 0; i < n; ++i) p[i] = lanes[i];
}
inline __m256 pair_half(__m256 first, __m256 second) {
  const __m256i upper = _mm256_and_si256(round_half(first), _mm256_set1_epi32(kUpperHalf));
  return _mm256_castsi256_ps(_mm256_or_si256(upper, _mm256_srli_epi32(round_half(second), 16)));
}
inline F32x16 pair_bf16(F32x16 first, F32x16 second) {
  return {pair_half(first.lo, second.lo), pair_half(first.hi, second.hi)};
}
inline __m256 mask_half(__m256 a) {
  return _mm256_castsi256_ps(_mm256_and_si256(_mm256_castps_si256(a), _mm256_set1_epi32(kUpperHalf)));
}
inline __m256 shift_half(__m256 a) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(a), 16)); }
inline F32x16 upper_half(F32x16 a) { return {mask_half(a.lo), mask_half(a.hi)}; }
inline F32x16 lower_half(F32x16 a) { return {shift_half(a.lo), shift_half(a.hi)}; }

#else

inline F32x16 load(const bf16* p) {
  return each([=](int64_t i) { return bf16_to_f32(p[i].bits); });
}
inline F32x16 load(const bf16* p, int64_t n) {
  return each([=](int64_t i) { return i < n ? bf16_to_f32(p[i].bits) : 0.0f; });
}
inline void store(bf16* p, F32x16 a, int64_t n = kLanes) {
  for (int64_t i = 0; i < kLanes && i < n; ++i) p[i] = f32_to_bf16(a.v[i]);
}
inline float word_of(uint32_t bits) {
  float word;
  std::memcpy(&word, &bits, sizeof word);
  return word;
}
inline F32x16 pair_bf16(F32x16 first, F32x16 second) {
  return each([&](int64_t i) {
    return word_of(static_cast<uint32_t>(f32_to_bf16(first.v[i]).bits) << 16 | f32_to_bf16(second.v[i]).bits);
  });
}
inline float flush(float a) { return __builtin_fabsf(a) < kLeastNormal ? __builtin_copysignf(0.0f, a) : a; }
// A result is subnormal if it is after rounding to 24 bits, whatever its exponent: what rounds up to the least normal number
// only for want of bits is told apart by the same sum of larger numbers.
inline float flushed_fma(float a, float b, float c) {
  constexpr float kLarger = 0x1p64f;
  const float sum = __builtin_fmaf(flush(a), flush(b), flush(c)), size = __builtin_fabsf(sum);
  if (!(size <= kLeastNormal)) return sum;
  const float larger = __builtin_fmaf(flush(a) * kLarger, flush(b), flush(c) * kLarger);
  return __builtin_fabsf(larger) < kLeastNormal * kLarger ? __builtin_copysignf(0.0f, sum) : sum;
}
inline F32x16 fma_pairs(F32x16 a, F32x16 b, F32x16 c) {
  return each([&](int64_t i) {
    const uint32_t x = static_cast<uint32_t>(bits_of(a.v[i])), y = static_cast<uint32_t>(bits_of(b.v[i]));
    const float first = flushed_fma(word_of(x & kUpperHalf), word_of(y & kUpperHalf), c.v[i]);
    return flushed_fma(word_of(x << 16), word_of(y << 16), first);
  });
}

#endif

#if defined(__AVX2__) && !defined(__AVX512BF16__)
inline F32x16 fma_pairs(F32x16 a, F32x16 b, F32x16 c) {
  return fma(lower_half(a), lower_half(b), fma(upper_half(a), upper_half(b), c));
}
#endif

}  // namespace zazen::ZAZEN_ISA

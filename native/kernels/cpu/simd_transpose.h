// Vectors of rows become vectors of columns, and matrices their transposes.
#pragma once

#include "kernels/cpu/simd_bf16.h"

namespace zazen::ZAZEN_ISA {

// Sixteen vectors row(i) become sixteen others: put(j, vector) is called with lane j of each of them.
#if defined(__AVX512F__)
template <class Row, class Put>
inline void transpose16(const Row& row, const Put& put) {
  __m512 r[kLanes], t[kLanes];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) r[i] = row(i).v;
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {  // pairs of rows
    t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {  // quads: r[4 i + j] holds columns j, j + 4, j + 8, j + 12 of rows 4 i .. 4 i + 3
    const auto lo = [&](int a, int b) {
      return _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(t[a]), _mm512_castps_pd(t[b])));
    };
    const auto hi = [&](int a, int b) {
      return _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(t[a]), _mm512_castps_pd(t[b])));
    };
    r[4 * i] = lo(4 * i, 4 * i + 2);
    r[4 * i + 1] = hi(4 * i, 4 * i + 2);
    r[4 * i + 2] = lo(4 * i + 1, 4 * i + 3);
    r[4 * i + 3] = hi(4 * i + 1, 4 * i + 3);
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {  // 4 x 4 blocks of quads
    const __m512 a = _mm512_shuffle_f32x4(r[j], r[4 + j], 0x88), b = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0x88);
    const __m512 c = _mm512_shuffle_f32x4(r[j], r[4 + j], 0xDD), d = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0xDD);
    put(j, F32x16{_mm512_shuffle_f32x4(a, b, 0x88)});
    put(j + 4, F32x16{_mm512_shuffle_f32x4(c, d, 0x88)});
    put(j + 8, F32x16{_mm512_shuffle_f32x4(a, b, 0xDD)});
    put(j + 12, F32x16{_mm512_shuffle_f32x4(c, d, 0xDD)});
  }
}
#else
template <class Row, class Put>
inline void transpose16(const Row& row, const Put& put) {
  float from[kLanes * kLanes], to[kLanes * kLanes];
  for (int64_t i = 0; i < kLanes; ++i) store(from + i * kLanes, row(i));
  for (int64_t i = 0; i < kLanes; ++i)
    for (int64_t j = 0; j < kLanes; ++j) to[j * kLanes + i] = from[i * kLanes + j];
  for (int64_t j = 0; j < kLanes; ++j) put(j, load(to + j * kLanes));
}
#endif
// out[j][i] = in[i][j] for 16 columns of `rows` rows, at most 16; the lanes of rows that are not there become zero.
template <class Out, class In>
inline void transpose16(Out* out, int64_t ldout, const In* in, int64_t ldin, int64_t rows) {
  const auto put = [=](int64_t j, F32x16 column) { store(out + j * ldout, column); };
  if (rows >= kLanes)
    transpose16([=](int64_t i) { return load(in + i * ldin); }, put);
  else
    transpose16([=](int64_t i) { return i < rows ? load(in + i * ldin) : zero(); }, put);
}

// out[j][i] = in[i][j] for i < rows, j < columns.
template <class T>
inline void transpose(T* out, int64_t ldout, const T* in, int64_t ldin, int64_t rows, int64_t columns) {
  for (int64_t i = 0; i < rows; i += kLanes)
    for (int64_t j = 0; j < columns; j += kLanes) {
      if (rows - i >= kLanes && columns - j >= kLanes) {
        transpose16(out + j * ldout + i, ldout, in + i * ldin + j, ldin, kLanes);
        continue;
      }
      for (int64_t a = i; a < rows && a < i + kLanes; ++a)
        for (int64_t b = j; b < columns && b < j + kLanes; ++b) out[b * ldout + a] = in[a * ldin + b];
    }
}

}  // namespace zazen::ZAZEN_ISA

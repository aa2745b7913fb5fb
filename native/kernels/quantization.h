// Numbers of few bits, as tables that both backends read: the dynamic map of 8-bit optimizers and 4-bit NormalFloat. A block of
// numbers keeps its largest magnitude in f32, and a code for each number divided by that.
#pragma once

#include <cstdint>

namespace zazen {

constexpr int64_t kMomentBlock = 256, kNf4Block = 64;  // numbers of a block
constexpr float kLeastMagnitude = 1.17549435e-38f;     // a block whose largest is less, not a normal float, is all zeros

// Dynamic quantisation (Dettmers et al. 2022, "8-bit Optimizers via Block-wise Quantization", section 2.1): magnitudes in
// [0.1, 1] * 10^(decade - 6), each decade of them with twice as many equal parts as the one below, and a number is the middle
// of its part; and 0 and 1. In rising order they have the ranks 0, 1, 2, ... Signed, a code is 127 + rank or 127 - rank, and -1
// is left out; without a sign it is the rank. Codes and values are those of bitsandbytes.
struct DynamicMap {
  static constexpr int kDecades = 7, kCodes = 256, kZero = 127;
  float values[kCodes];  // of codes
  // A magnitude from `from` on belongs to a decade; its rank there is round(slope * magnitude + offset), in first .. last.
  float from[kDecades], slope[kDecades], offset[kDecades], first[kDecades], last[kDecades];
  float one_from, one;  // the least magnitude that becomes 1, and the rank of 1
};

// Every magnitude goes to the number nearest to it, with one exception: without a sign none but zero becomes zero. It is the
// second moment, and the weight of one that were zero would take a step many times too large.
constexpr DynamicMap dynamic_map(bool is_signed) {
  constexpr double kPowers[DynamicMap::kDecades] = {1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0};
  DynamicMap map{};
  double magnitudes[DynamicMap::kCodes] = {};
  int rank = 1;
  for (int i = 0; i < DynamicMap::kDecades; ++i) {
    const int parts = is_signed ? 1 << i : 2 << i;
    const int first = rank;
    for (int j = 0; j < parts; ++j) magnitudes[rank++] = (0.1 + 0.9 * (j + 0.5) / parts) * kPowers[i];
    map.from[i] = static_cast<float>((magnitudes[first - 1] + magnitudes[first]) / 2);
    map.slope[i] = static_cast<float>(parts / (0.9 * kPowers[i]));
    map.offset[i] = static_cast<float>(first - 0.5 - parts / 9.0);
    map.first[i] = static_cast<float>(first);
    map.last[i] = static_cast<float>(rank - 1);
  }
  if (!is_signed) map.from[0] = kLeastMagnitude;
  map.one = static_cast<float>(rank);
  map.one_from = static_cast<float>((magnitudes[rank - 1] + 1) / 2);
  magnitudes[rank] = 1;
  const int zero = is_signed ? DynamicMap::kZero : 0;
  for (int r = 0; r <= rank; ++r) {
    map.values[zero + r] = static_cast<float>(magnitudes[r]);
    if (is_signed && r <= zero) map.values[zero - r] = static_cast<float>(-magnitudes[r]);
  }
  map.values[zero] = 0;
  return map;
}
inline constexpr DynamicMap kSignedMap = dynamic_map(true), kUnsignedMap = dynamic_map(false);

// NormalFloat (Dettmers et al. 2023, "QLoRA", section 3 and appendix E): quantiles of the normal distribution, divided by the
// largest, with an exact zero.
struct Nf4Map {
  float levels[16];
  float edges[15];  // the code of a number is how many of them are less
};
constexpr Nf4Map nf4_map() {
  Nf4Map map{{-1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f,
              -0.18477343022823334f, -0.09105003625154495f, 0.0f, 0.07958029955625534f, 0.16093020141124725f,
              0.24611230194568634f, 0.33791524171829224f, 0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f},
             {}};
  for (int i = 0; i < 15; ++i)
    map.edges[i] = static_cast<float>((static_cast<double>(map.levels[i]) + static_cast<double>(map.levels[i + 1])) / 2);
  return map;
}
inline constexpr Nf4Map kNf4Map = nf4_map();

}  // namespace zazen

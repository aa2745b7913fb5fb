// Loops over rows in steps of 16 lanes, and the size of a parallel task.
// Body and tail run one lambda, so that their arithmetic cannot differ; only loads and stores of the tail are masked.
#pragma once

#include "core/thread_pool.h"
#include "kernels/cpu/simd_bf16.h"

namespace zazen::ZAZEN_ISA {

// Sixteen valid lanes.
struct WholeLanes {
  template <class T>
  F32x16 load(const T* p) const {
    return ZAZEN_ISA::load(p);
  }
  template <class T>
  void store(T* p, F32x16 a) const {
    ZAZEN_ISA::store(p, a);
  }
  F32x16 keep(F32x16 a, F32x16) const { return a; }
};
// The first n lanes are valid: the others load as zero, are not stored, and take the second argument of keep.
struct PartLanes {
  int64_t n;
  template <class T>
  F32x16 load(const T* p) const {
    return ZAZEN_ISA::load(p, n);
  }
  template <class T>
  void store(T* p, F32x16 a) const {
    ZAZEN_ISA::store(p, a, n);
  }
  F32x16 keep(F32x16 a, F32x16 other) const { return ZAZEN_ISA::keep(a, n, other); }
};

// Calls body(i, lanes) for i = 0, 16, 32, ... below n.
template <class Body>
inline void for_lanes(int64_t n, const Body& body) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) body(i, WholeLanes{});
  if (i < n) body(i, PartLanes{n - i});
}

// x [n] += y [n].
template <class T, class U>
inline void add_row(T* x, const U* y, int64_t n) {
  for_lanes(n, [&](int64_t i, auto lanes) { lanes.store(x + i, lanes.load(x + i) + lanes.load(y + i)); });
}

constexpr int64_t kColumnGranule = 64;  // columns of a sum over rows that a task takes at least: four cache lines

constexpr int64_t kTaskWork = 16384;  // element operations in a task: some microseconds, against 1 to hand it out

// How many items make a task when each costs `work` element operations, rounded up to a multiple of `granule`.
inline int64_t task_items(int64_t work, int64_t granule = 1) {
  const int64_t items = work > 0 ? (kTaskWork + work - 1) / work : kTaskWork;
  return (items + granule - 1) / granule * granule;
}

}  // namespace zazen::ZAZEN_ISA

// The floating-point mode that all arithmetic here assumes: round to nearest even, subnormals kept. Other libraries in a
// process may have changed it for a thread; while one of these lives, the thread is back in the default mode.
#pragma once

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace zazen {

class FloatMode {
 public:
#if defined(__x86_64__)
  FloatMode() : before_(_mm_getcsr()) { _mm_setcsr(kDefault); }
  ~FloatMode() { _mm_setcsr(before_); }
#else
  FloatMode() {}
#endif
  FloatMode(const FloatMode&) = delete;
  FloatMode& operator=(const FloatMode&) = delete;

 private:
#if defined(__x86_64__)
  static constexpr unsigned kDefault = 0x1F80;  // all exceptions masked, nearest even, no flush to zero
  unsigned before_;
#endif
};

// While one of these lives, its thread takes subnormal operands for zero and makes zero of subnormal results. That is what the
// bf16 instruction of AVX-512 does by itself, and what other instruction sets must do to have its bits.
class FlushSubnormals {
 public:
#if defined(__x86_64__)
  FlushSubnormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | kFlush); }
  ~FlushSubnormals() { _mm_setcsr(before_); }
#else
  FlushSubnormals() {}
#endif
  FlushSubnormals(const FlushSubnormals&) = delete;
  FlushSubnormals& operator=(const FlushSubnormals&) = delete;

 private:
#if defined(__x86_64__)
  static constexpr unsigned kFlush = 0x8040;  // flush to zero, subnormals are zeros
  unsigned before_;
#endif
};

}  // namespace zazen

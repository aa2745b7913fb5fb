// What this machine's matmul reaches.
#pragma once

#include "kernels/kernels.h"

namespace zazen {

struct Peak {
  double gflops;  // best of the repetitions
  int64_t rows, outputs, inputs;
};

// Repeats one f32 matmul for about `seconds`.
Peak measure_peak(const Kernels& kernels, ThreadPool& pool, double seconds);

}  // namespace zazen

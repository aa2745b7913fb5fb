// What this machine's matmul reaches.
#pragma once

#include "kernels/kernels.h"

namespace zazen {

struct Peak {
  double gflops;  // best of the repetitions
  int64_t rows, outputs, inputs;
};

// Repeats one matmul of f32 or bf16 for about `seconds`.
Peak measure_peak(const Kernels& kernels, ThreadPool& pool, DType type, double seconds);

}  // namespace zazen

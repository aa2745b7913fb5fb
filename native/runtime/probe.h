// What this machine's matmul reaches, and its reads of memory.
#pragma once

#include "kernels/kernels.h"

namespace zazen {

struct Peak {
  double gflops;  // best of the repetitions
  int64_t rows, outputs, inputs;
};

// Repeats one matmul of f32 or bf16 for about `seconds`.
Peak measure_peak(const Kernels& kernels, ThreadPool& pool, DType type, double seconds);

// Bytes a second, in GB/s, that the threads read of memory far beyond the caches, each a part in order: best of the repetitions
// in about `seconds`. What a token of one sample at least takes is the bytes of the weights over this.
double measure_reads(ThreadPool& pool, double seconds);

}  // namespace zazen

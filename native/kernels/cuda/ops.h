// Declares the CUDA kernels, with the names and signatures of the CPU's: the declarations are the very same. Pointers are to
// device memory, those inside of structs too. The thread pool is the CPU's and has no use here; work is queued on the device's
// default stream.
#pragma once

#define ZAZEN_ISA cuda
#include "kernels/cpu/ops.h"
#undef ZAZEN_ISA

namespace zazen {

// The CUDA table; its functions throw CUDA where there is no device.
const Kernels& cuda_kernels();

}  // namespace zazen

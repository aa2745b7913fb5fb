// The CUDA table.
#include "kernels/cuda/ops.h"

#define ZAZEN_ISA cuda
#include "kernels/table.h"
#undef ZAZEN_ISA

namespace zazen {

const Kernels& cuda_kernels() {
  static constexpr Kernels kTable = cuda::table_of("cuda", WeightLayout::rows, KvLayout::rows);
  return kTable;
}

}  // namespace zazen

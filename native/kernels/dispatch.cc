// Chooses the kernel table for this machine. All tables give the same bits, so the choice changes speed only.
#include "core/check.h"
#include "kernels/kernels.h"
#define ZAZEN_ISA isa_avx512_bf16
#include "kernels/cpu/ops.h"
#undef ZAZEN_ISA

namespace zazen {

namespace isa_portable {
extern const Kernels kTable;
}
#if defined(ZAZEN_HAS_avx2)
namespace isa_avx2 {
extern const Kernels kTable;
}
#endif
#if defined(ZAZEN_HAS_avx512)
namespace isa_avx512 {
extern const Kernels kTable;
}
#endif

namespace {

#if defined(ZAZEN_HAS_avx512)
// Its own instruction is that of the matmul; all else is as in AVX-512.
const Kernels& avx512_bf16_table() {
  static const Kernels table = [] {
    Kernels kernels = isa_avx512::kTable;
    kernels.name = "isa_avx512_bf16";
    kernels.linear_forward = isa_avx512_bf16::linear_forward;
    kernels.linear_backward_weight = isa_avx512_bf16::linear_backward_weight;
    return kernels;
  }();
  return table;
}

bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl");
}
#endif

// The table when both the build and the machine have the instruction set, else null.
const Kernels* find(Isa isa) {
  switch (isa) {
    case Isa::portable:
      return &isa_portable::kTable;
#if defined(ZAZEN_HAS_avx2)
    case Isa::avx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &isa_avx2::kTable : nullptr;
#endif
#if defined(ZAZEN_HAS_avx512)
    case Isa::avx512:
      return has_avx512() ? &isa_avx512::kTable : nullptr;
    case Isa::avx512_bf16:
      return has_avx512() && __builtin_cpu_supports("avx512bf16") ? &avx512_bf16_table() : nullptr;
#endif
    default:
      return nullptr;
  }
}

}  // namespace

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::avx512_bf16:
      return "avx512_bf16";
    case Isa::avx512:
      return "avx512";
    case Isa::avx2:
      return "avx2";
    case Isa::portable:
      return "portable";
  }
  return "unknown";
}

bool has_isa(Isa isa) { return find(isa) != nullptr; }

Isa best_isa() {
  Isa best = Isa::portable;
  for (const Isa isa : kIsas)
    if (has_isa(isa)) best = isa;
  return best;
}

const Kernels& cpu_kernels(Isa isa) {
  const Kernels* table = find(isa);
  ZAZEN_CHECK(table, "UNSUPPORTED", "[kernels] expected an instruction set of this machine and build, got ", isa_name(isa),
              "; use \"auto\"");
  return *table;
}

}  // namespace zazen

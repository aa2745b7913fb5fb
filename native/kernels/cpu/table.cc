// The table of one instruction set.
#include "kernels/table.h"

#define ZAZEN_TEXT_(x) #x
#define ZAZEN_TEXT(x) ZAZEN_TEXT_(x)

namespace zazen::ZAZEN_ISA {

extern const Kernels kTable;
constexpr Kernels kTable = table_of(ZAZEN_TEXT(ZAZEN_ISA), WeightLayout::panels, KvLayout::groups);

}  // namespace zazen::ZAZEN_ISA

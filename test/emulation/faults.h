// Small kernels, right ones and ones with a planted fault, for the emulator's own tests. Each launches one block or two of 64
// threads on device memory.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace zazen::faults {

constexpr int kThreads = 64;

// out [64] = x [64] reversed, through shared memory.
void reverse(float* out, const float* x, bool with_barrier);
// The same, and shared memory is then written again, with a barrier before that or without.
void reverse_twice(float* out, const float* x, bool with_barrier);
// out [64] becomes itself reversed + x [64], in device memory: each element is read by one thread and written by another, with
// a barrier between or without.
void through_device(float* out, const float* x, bool with_barrier);
// out [64]: sums of each warp of x [64] by shuffles.
void warp_sums(float* out, const float* x);
// The same through shared memory, with __syncwarp between steps or only before the first.
void warp_tree(float* out, const float* x, bool with_sync);
// Half of the threads reach a barrier, or all of them reach one of two.
void divergent_barrier(float* out, bool two_barriers);
// A thread ends, and the others wait for it.
void early_exit(float* out);
// Lane 0 asks for a lane beyond its segment; lanes 0 .. 15 ask for one outside their mask; lane 20 runs what its mask does not
// have; lane 5 never comes.
enum class ShuffleFault { beyond_segment, outside_mask, not_in_mask, missing_lane };
void shuffle(float* out, ShuffleFault fault);
// Thread t loads 16 bytes at x + 4 t + offset.
void vector_load(float* out, const float* x, int offset);
// Thread t reads x[t + offset] and writes out[t].
void copy(float* out, const float* x, int offset);
// Reads shared memory that nothing wrote.
void unwritten_shared(float* out);
// Two blocks write the same elements.
void two_blocks(float* out);
// More shared memory than the launch has.
void too_much_shared(float* out);
// One warp copies x [512] bf16 to out through cp.async: complete, read before the wait, waiting for too few groups, read by
// other lanes without a barrier, or never waited for.
enum class AsyncFault { none, no_wait, early_wait, no_barrier, left_over };
void async_copy(bf16* out, const bf16* x, AsyncFault fault);
// d [16, 8] = a [16, 16] b [16, 8] by one mma, a through ldmatrix and b [8, 16] transposed or b [16, 8] as it is.
void product(float* d, const bf16* a, const bf16* b, bool b_by_rows);

}  // namespace zazen::faults

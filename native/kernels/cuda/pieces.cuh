// The sums of a loss, in double and in one order for a call: a block takes a piece of the tokens or pairs, its threads add what
// they have of it, block_sum joins them, and the host adds the pieces in order. Many pieces are joined once more on the device,
// as they would take longer to reach the host than to make.
#pragma once

#include <vector>

#include "kernels/cuda/lanes.cuh"
#include "kernels/cuda/math.cuh"
#include "kernels/cuda/workspace.h"

namespace zazen::cuda {

constexpr int64_t kPiece = kThreads * kEight;  // tokens of a block, where a piece is not something else

// N sums and a maximum of numbers that are not negative.
template <int N>
struct Sums {
  double of[N];
  double max;
};
template <int N>
struct SumsRoom {
  double of[N + 1][kWarps];  // one a sum, so that a barrier parts each from the others
};

// Joins the threads of a block and writes its piece.
template <int N>
__device__ __forceinline__ void write_piece(Sums<N>* pieces, Sums<N>& sums, SumsRoom<N>& room) {
#pragma unroll
  for (int i = 0; i < N; ++i) sums.of[i] = block_sum(sums.of[i], room.of[i]);
#pragma unroll
  for (int away = 1; away < kWarp; away *= 2) sums.max = fmax(sums.max, __shfl_xor_sync(kWholeWarp, sums.max, away));
  if (threadIdx.x % kWarp == 0) room.of[N][threadIdx.x / kWarp] = sums.max;
  __syncthreads();
  for (int warp = 0; warp < kWarps; ++warp) sums.max = fmax(sums.max, room.of[N][warp]);
  if (threadIdx.x == 0) pieces[blockIdx.x] = sums;
}

// More pieces than this are joined, so many at a time.
constexpr int64_t kJoined = kThreads;

// A block writes the sum of its pieces as one. Static, as more than one file has it for the same N.
template <int N>
static __global__ void __launch_bounds__(kThreads) join_pieces_kernel(Sums<N>* joined, const Sums<N>* pieces, int64_t count) {
  const int64_t piece = blockIdx.x * kJoined + threadIdx.x;
  Sums<N> sums = piece < count ? pieces[piece] : Sums<N>{};
  write_piece(joined, sums, shared_memory<SumsRoom<N>>());
}

// The pieces, or joined ones, of a call that has run start(pieces), in order.
template <int N, class Start>
std::vector<Sums<N>> pieces_of(int64_t count, const Start& start) {
  const int64_t joined = count > kJoined ? ceil_div(count, kJoined) : 0;
  Sums<N>* pieces = workspace<Sums<N>>(joined + count);
  start(pieces + joined);
  if (joined > 0)
    launch(last_call(), join_pieces_kernel<N>, {.x = joined, .threads = kThreads, .shared_bytes = sizeof(SumsRoom<N>)}, pieces,
           pieces + joined, count);
  std::vector<Sums<N>> host(static_cast<size_t>(joined > 0 ? joined : count));
  download(host.data(), pieces, host.size() * sizeof(Sums<N>));
  return host;
}

}  // namespace zazen::cuda

// Runs CUDA kernels on the host: one fiber for each thread of a block, block after block, all on one OS thread. A thread runs
// until it waits for others, at a barrier of its block or with lanes of its warp, so every run takes the same order.
//
// An error of device code ends the launch with zazen::Error EMULATION, whose message names op, block, thread, lane and line:
//  - a barrier that not all threads of the block reach, or that they reach at different lines
//  - a warp operation that a lane of its mask does not reach, that is run by a lane outside its mask, or that reads a lane
//    outside it
//  - what memory.h lists, and vector accesses at unaligned addresses
//  - an asynchronous copy that its thread never waits for
// Shuffles and matrix operations order no memory accesses, only barriers and __syncwarp do, as in CUDA's memory model.
//
// Left out: atomics, streams, warps that diverge on purpose within a mask, and the time that anything takes. Floats are those
// of the host, so the sum within one mma instruction has other low bits than a tensor core's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace emulation {

constexpr int kWarp = 32;

struct Dim3 {
  unsigned x = 1, y = 1, z = 1;
  Dim3() = default;
  Dim3(unsigned of_x, unsigned of_y = 1, unsigned of_z = 1) : x(of_x), y(of_y), z(of_z) {}
  unsigned count() const { return x * y * z; }
};

struct Place {
  const char* file;
  int line;
  static Place here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) { return {file, line}; }
};

// ---- launches

struct Launch {
  std::string op;  // with its shapes
  Dim3 grid, block;
  size_t shared_bytes;
  void (*kernel)(const void* parameters);
  const void* parameters;  // [parameter_bytes], which device code may read
  size_t parameter_bytes;
};
void run(const Launch& launch);

// ---- what device code asks for; only while a launch runs

Dim3 thread_index();
Dim3 block_index();
Dim3 block_size();
Dim3 grid_size();
// The block's shared memory; an error when the launch has less than `bytes`.
void* shared_memory(size_t bytes);

void sync_threads(Place place);

// Lanes of `mask` meet at one place; the last to come calls combine(lanes, mask), where lanes [32] are what each brought.
using Combine = void (*)(void* const* lanes, uint32_t mask);
void meet(const char* name, uint32_t mask, void* lane, Combine combine, Place place);
void sync_warp(uint32_t mask, Place place);
// The bits that lane `source` brought; -1: own bits. An error when it is outside the mask.
uint64_t shuffle(const char* name, uint32_t mask, uint64_t bits, int source, Place place);
// A bit for each lane of the mask whose predicate holds.
uint32_t ballot(const char* name, uint32_t mask, bool predicate, Place place);
int lane_index();

// Checks a read or write of device code by the calling line, `alignment` included.
void access(const void* address, size_t bytes, bool write, size_t alignment, const void* pc);

// ldmatrix (.trans) with 1, 2 or 4 matrices of 8 x 8 b16: lane l gives row l % 8 of matrix l / 8.
void load_matrices(uint32_t* registers, int count, bool transposed, const void* row, Place place);
// mma.sync.m16n8k16.f32.bf16: d [4] = a [4] b [2] + c [4] in the fragment layout of the PTX manual. Products are exact; their
// sum is taken in double, in order of k, and rounded once.
void multiply_16_8_16(float* d, const uint32_t* a, const uint32_t* b, const float* c, Place place);

// cp.async: the bytes arrive when their thread waits for their group; until then the target is as if nothing wrote it. Bytes
// from `source_bytes` on become zero.
void copy_async(void* target, const void* source, size_t bytes, size_t source_bytes);
void commit_copies();
void wait_for_copies(int groups_left);

// Ends the launch with an error at the calling thread, whose stack is left as it is: so text() -> std::string is called, and
// its result gone, before that. Nothing is thrown, because the compiler takes the calls before accesses for ones that return.
void report(const std::string& what, Place place);
void report(const std::string& what, const void* pc);
[[noreturn]] void stop();
template <class Line, class Text>
[[noreturn]] void fail(Line line, const Text& text) {
  report(text(), line);
  stop();
}

}  // namespace emulation

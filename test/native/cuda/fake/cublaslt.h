// What a test tells the fake cuBLASLt, and what it asks it; both through a function of this name and type.
#pragma once

#include <cstddef>

namespace zazen::fake {

// How an algorithm sums over the depth. chain: as the definition on the emulated device. split: two halves, each a chain, then
// added. start_last: a chain from zero, to which what the output held is added. refused: the library does not run it. broken:
// running it fails.
enum Order { chain, split, start_last, refused, broken, kOrders };

struct Library {
  // Device memory, by the emulator.
  void (*read)(void* host, const void* device, size_t bytes) = nullptr;
  void (*write)(void* device, const void* host, size_t bytes) = nullptr;
  Order proposals[kOrders] = {};
  int proposal_count = 0;
  int computed[kOrders] = {};  // products so far
};

constexpr const char* kSettings = "zazen_fake_cublaslt";
using Settings = Library*();

}  // namespace zazen::fake

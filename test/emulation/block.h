// The running block: its threads, where each of them waits, and its shared memory.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "emulation/emulation.h"
#include "emulation/fiber.h"
#include "emulation/memory.h"

namespace emulation {

// A copy that cp.async asked for.
struct PendingCopy {
  void* target;
  const void* source;
  size_t bytes, source_bytes;
  const void* pc;
};

struct Thread {
  enum class State { ready, at_barrier, at_meeting, finished };

  Fiber fiber;
  uint32_t index = 0;
  State state = State::ready;
  Place place{};          // where it waits
  const char* name = "";  // the operation that it waits in
  uint32_t mask = 0;      // of lanes that it waits for
  void* lane = nullptr;   // what it brought
  Combine combine = nullptr;
  uint32_t clocks[kWarp] = {};                   // [lane] the last warp synchronisation of each lane that this one comes after
  std::vector<std::vector<PendingCopy>> groups;  // committed, oldest first
  std::vector<PendingCopy> copies;               // not committed
  std::vector<const void*> calls;                // where the functions that it is in were called, outermost first

  uint32_t warp() const { return index / kWarp; }
  uint32_t lane_of() const { return index % kWarp; }
};

class Block {
 public:
  static Block& running();
  static bool active();

  Block(const Launch& launch, std::vector<std::unique_ptr<Thread>>& threads);
  ~Block();
  // Runs the block of this index to its end; throws when device code fails.
  void run(Dim3 index);

  const Launch& launch() const { return launch_; }
  Dim3 index() const { return index_; }
  Thread& thread() { return *current_; }
  Thread& thread(uint32_t i) { return *threads_[i]; }
  uint32_t count() const { return launch_.block.count(); }
  Region& shared() { return shared_; }
  // Whether `before`, an access of this launch or an earlier one, is ordered before what the current thread does.
  bool ordered(const Access& before) const;
  Access access_of(const void* pc) const;
  // Whether an access is of this block.
  bool holds(const Access& of) const { return of.epoch >= block_epoch_; }

  void wait(Thread::State state, Place place);
  // Wakes the lanes of a meeting when all of them are there.
  bool complete_meeting();
  // The launch will end with this error; `line` is where the current thread is.
  void report(const std::string& line, const std::string& what);

 private:
  static void enter(void* thread);
  bool step();
  bool cross_barrier();
  std::string stuck() const;
  std::string where(const Thread& thread) const;

  const Launch& launch_;
  std::vector<std::unique_ptr<Thread>>& threads_;
  std::unique_ptr<std::byte[]> shared_bytes_;
  Region shared_;
  Dim3 index_;
  Thread* current_ = nullptr;
  uint32_t launch_epoch_, block_epoch_ = 0;
  std::string error_;
};

// "file.cu:12", as far as the program knows it.
std::string line_of(const void* pc);
std::string line_of(Place place);
uint32_t packed_pc(const void* pc);
const void* unpacked_pc(uint32_t pc);

}  // namespace emulation

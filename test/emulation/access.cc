// Checks of what device code reads and writes. The kernels are compiled with the compiler's calls for thread sanitizer, one
// before each access to memory; they end here instead of in its library, which does not know blocks, barriers and warps.
#include <cstring>

#include "core/check.h"
#include "emulation/block.h"

extern "C" {
__attribute__((visibility("hidden"))) extern const char __ehdr_start, end;
}

namespace emulation {
namespace {

struct Attempt {
  const void* address;
  size_t bytes;
  bool write;
  const void* pc;
  std::string text() const { return zazen::text(write ? "writes " : "reads ", bytes, " bytes"); }
};

[[noreturn]] void fail_race(const Attempt& attempt, const Access& other, const char* verb, const Region& region) {
  const size_t offset = static_cast<size_t>(static_cast<const std::byte*>(attempt.address) - region.base);
  fail(attempt.pc, [&] {
    return zazen::text(attempt.text(), " at offset ", offset, " of ", region.name, " that thread ", other.thread, verb, " at ",
                       line_of(unpacked_pc(other.pc)),
                       Block::running().holds(other) ? ", with no barrier between" : " in another block");
  });
}

// One byte: errors first, then what it remembers.
void visit(Block& block, Region& region, Cell& cell, const Attempt& attempt, const Access& now) {
  if (!attempt.write && cell.write.epoch == 0)
    fail(attempt.pc, [&] {
      return zazen::text(attempt.text(), " at offset ", static_cast<const std::byte*>(attempt.address) - region.base, " of ",
                         region.name, " that nothing wrote");
    });
  if (cell.write.epoch && !block.ordered(cell.write)) fail_race(attempt, cell.write, " wrote", region);
  if (!attempt.write) {
    if (cell.first_read.epoch != now.epoch) cell.first_read = now;
    cell.last_read = now;
    return;
  }
  for (const Access* read : {&cell.first_read, &cell.last_read})
    if (read->epoch && !block.ordered(*read)) fail_race(attempt, *read, " read", region);
  cell = Cell{now, {}, {}};
}

Region* region_of(Block& block, const void* address) {
  if (block.shared().holds(address)) return &block.shared();
  return DeviceMemory::instance().find(address);
}

// Memory that no other thread writes: the own stack, parameters of the launch, and what the program holds.
bool is_private(Block& block, const Attempt& attempt) {
  if (block.thread().fiber.owns(attempt.address)) return true;
  if (attempt.write) return false;
  const auto* at = static_cast<const char*>(attempt.address);
  const auto* parameters = static_cast<const char*>(block.launch().parameters);
  if (at >= parameters && at < parameters + block.launch().parameter_bytes) return true;
  return at >= &__ehdr_start && at < &end;
}

void check(const Attempt& attempt) {
  Block& block = Block::running();
  if (is_private(block, attempt)) return;
  Region* region = region_of(block, attempt.address);
  const auto* at = static_cast<const std::byte*>(attempt.address);
  if (!region) {
    const bool device = DeviceMemory::instance().covers(at);
    fail(attempt.pc, [&] {
      return zazen::text(attempt.text(), device ? " outside of every device block" : " that are not of device memory");
    });
  }
  if (at + attempt.bytes > region->base + region->size)
    fail(attempt.pc, [&] {
      return zazen::text(attempt.text(), " at offset ", at - region->base, " of ", region->name, ", which has ", region->size);
    });
  const Access now = block.access_of(attempt.pc);
  Cell* cells = region->cells_of(at);
  for (size_t i = 0; i < attempt.bytes; ++i) visit(block, *region, cells[i], attempt, now);
}

}  // namespace

void access(const void* address, size_t bytes, bool write, size_t alignment, const void* pc) {
  const Attempt attempt{address, bytes, write, pc};
  if (reinterpret_cast<uintptr_t>(address) % alignment != 0)
    fail(pc, [&] { return zazen::text(attempt.text(), " at an address that is not a multiple of ", alignment); });
  check(attempt);
}

namespace {

// Host code of the same files is not looked at.
void instrumented(const void* address, size_t bytes, bool write, const void* pc) {
  if (Block::active()) check({address, bytes, write, pc});
}

}  // namespace
}  // namespace emulation

#define EMULATION_ACCESS(name, bytes, write) \
  void name(void* address) { emulation::instrumented(address, bytes, write, __builtin_return_address(0)); }
#define EMULATION_RANGE(name, write) \
  void name(void* address, size_t bytes) { emulation::instrumented(address, bytes, write, __builtin_return_address(0)); }

extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void* pc) {
  if (emulation::Block::active()) emulation::Block::running().thread().calls.push_back(pc);
}
void __tsan_func_exit() {
  if (emulation::Block::active()) emulation::Block::running().thread().calls.pop_back();
}
void __tsan_vptr_update(void**, void*) {}
EMULATION_ACCESS(__tsan_read1, 1, false)
EMULATION_ACCESS(__tsan_read2, 2, false)
EMULATION_ACCESS(__tsan_read4, 4, false)
EMULATION_ACCESS(__tsan_read8, 8, false)
EMULATION_ACCESS(__tsan_read16, 16, false)
EMULATION_ACCESS(__tsan_unaligned_read2, 2, false)
EMULATION_ACCESS(__tsan_unaligned_read4, 4, false)
EMULATION_ACCESS(__tsan_unaligned_read8, 8, false)
EMULATION_ACCESS(__tsan_unaligned_read16, 16, false)
EMULATION_ACCESS(__tsan_write1, 1, true)
EMULATION_ACCESS(__tsan_write2, 2, true)
EMULATION_ACCESS(__tsan_write4, 4, true)
EMULATION_ACCESS(__tsan_write8, 8, true)
EMULATION_ACCESS(__tsan_write16, 16, true)
EMULATION_ACCESS(__tsan_unaligned_write2, 2, true)
EMULATION_ACCESS(__tsan_unaligned_write4, 4, true)
EMULATION_ACCESS(__tsan_unaligned_write8, 8, true)
EMULATION_ACCESS(__tsan_unaligned_write16, 16, true)
EMULATION_RANGE(__tsan_read_range, false)
EMULATION_RANGE(__tsan_write_range, true)
}

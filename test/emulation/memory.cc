#include "emulation/memory.h"

#include <sys/mman.h>

#include <cstring>

#include "core/check.h"

namespace emulation {
namespace {

constexpr size_t kAlignment = 256;  // bytes, as cudaMalloc promises
constexpr uint16_t kPoison = 0x7FA1;
constexpr size_t kPage = 4096;

uint32_t now = 1;

size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

}  // namespace

uint32_t epoch() { return now; }
uint32_t next_epoch() { return ++now; }

void Region::poison() {
  for (size_t i = 0; i < size; ++i) base[i] = static_cast<std::byte>(i % 2 == 0 ? kPoison & 0xFF : kPoison >> 8);
  std::fill(cells.begin(), cells.end(), Cell{});
}

DeviceMemory& DeviceMemory::instance() {
  static DeviceMemory memory;
  return memory;
}

DeviceMemory::DeviceMemory() {
  void* arena = mmap(nullptr, kArenaBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  ZAZEN_CHECK(arena != MAP_FAILED, "OUT_OF_MEMORY", "[emulation] the system refused the range of device memory");
  arena_ = static_cast<std::byte*>(arena);
}

// Blocks never touch: the bytes between them belong to nothing.
void* DeviceMemory::allocate(size_t bytes) {
  if (blocks_.empty()) used_ = kAlignment;
  const size_t at = used_, room = round_up(bytes + 1, kAlignment);
  ZAZEN_CHECK(room <= kArenaBytes - at, "OUT_OF_MEMORY", "[emulation] expected at most ", kArenaBytes - at, " bytes, got ",
              bytes);
  used_ = at + room;
  auto block = std::make_unique<Region>(arena_ + at, bytes, zazen::text("device block ", ++numbered_));
  const DeviceAccess access;
  block->poison();
  void* base = block->base;
  blocks_[block->base] = std::move(block);
  return base;
}

void DeviceMemory::release(void* block) {
  if (!block) return;
  const auto found = blocks_.find(static_cast<std::byte*>(block));
  ZAZEN_CHECK(found != blocks_.end(), "EMULATION",
              "[emulation] expected the start of a device block, got another address to free");
  last_ = nullptr;
  blocks_.erase(found);
}

Region* DeviceMemory::find(const void* address) {
  if (last_ && last_->holds(address)) return last_;
  auto after = blocks_.upper_bound(static_cast<const std::byte*>(address));
  if (after == blocks_.begin()) return nullptr;
  Region* block = std::prev(after)->second.get();
  return block->holds(address) ? last_ = block : nullptr;
}

Region& DeviceMemory::block_of(const void* address, size_t bytes, const char* verb) {
  Region* block = find(address);
  ZAZEN_CHECK(block && static_cast<const std::byte*>(address) + bytes <= block->base + block->size, "EMULATION",
              "[emulation] the host ", verb, " ", bytes, " bytes that are not all of one device block");
  return *block;
}

void DeviceMemory::mark_written(Region& block, void* at, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) block.cells_of(at)[i] = Cell{.write = {.epoch = now}, .first_read = {}, .last_read = {}};
}

void DeviceMemory::write(void* to, const void* from, size_t bytes) {
  if (bytes == 0) return;
  Region& block = block_of(to, bytes, "writes");
  const DeviceAccess access;
  std::memcpy(to, from, bytes);
  mark_written(block, to, bytes);
}

void DeviceMemory::fill(void* to, int value, size_t bytes) {
  if (bytes == 0) return;
  Region& block = block_of(to, bytes, "fills");
  const DeviceAccess access;
  std::memset(to, value, bytes);
  mark_written(block, to, bytes);
}

void DeviceMemory::read(void* to, const void* from, size_t bytes) {
  if (bytes == 0) return;
  Region& block = block_of(from, bytes, "reads");
  const Cell* cells = block.cells_of(from);
  for (size_t i = 0; i < bytes; ++i)
    ZAZEN_CHECK(cells[i].write.epoch, "EMULATION", "[emulation] the host reads byte ", i, " of ", bytes, " of ", block.name,
                ", which nothing wrote");
  const DeviceAccess access;
  std::memcpy(to, from, bytes);
}

void DeviceMemory::open() {
  if (used_) mprotect(arena_, round_up(used_, kPage), PROT_READ | PROT_WRITE);
}
void DeviceMemory::close() {
  if (used_) mprotect(arena_, round_up(used_, kPage), PROT_NONE);
}

}  // namespace emulation

// The memory that device code may touch: blocks of device memory, the shared memory of the running block, a thread's own stack,
// the launch's parameters, and constants of the program. Every byte of the first two remembers who wrote and who read it last,
// so that these are errors: reading what nothing wrote, touching what is outside, and two accesses of different threads that
// no barrier orders. While no launch or copy is under way the host cannot touch device memory: it would be a segmentation
// fault.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace emulation {

// A point in the order of things. Epochs count launches, blocks and barriers; a clock counts the warp synchronisations of one
// thread.
struct Access {
  uint32_t epoch = 0;  // 0: never
  uint32_t clock = 0;
  uint32_t thread = 0;  // in its block
  uint32_t pc = 0;      // from the start of the program
};

// What is known of one byte. Of its readers since the last barrier two are kept: to find a write that none of them expects,
// one other than the writer is enough.
struct Cell {
  Access write, first_read, last_read;
};

struct Region {
  std::byte* base = nullptr;
  size_t size = 0;
  std::string name;
  std::vector<Cell> cells;  // [size]

  Region(std::byte* at, size_t bytes, std::string what) : base(at), size(bytes), name(std::move(what)), cells(bytes) {}
  bool holds(const void* address) const { return address >= base && address < base + size; }
  Cell* cells_of(const void* address) { return cells.data() + (static_cast<const std::byte*>(address) - base); }
  // Forgets all writes and fills the bytes with signalling NaNs, of f32 and of bf16 alike.
  void poison();
};

class DeviceMemory {
 public:
  static DeviceMemory& instance();

  void* allocate(size_t bytes);
  void release(void* block);
  // The block that an address lies in, or null.
  Region* find(const void* address);
  // By the host.
  void write(void* to, const void* from, size_t bytes);
  void fill(void* to, int value, size_t bytes);
  void read(void* to, const void* from, size_t bytes);
  size_t blocks() const { return blocks_.size(); }
  // Whether an address is of the range that device memory comes from.
  bool covers(const void* address) const { return address >= arena_ && address < arena_ + kArenaBytes; }

  void open();   // to the running launch or copy
  void close();  // to the host

 private:
  DeviceMemory();
  Region& block_of(const void* address, size_t bytes, const char* verb);
  void mark_written(Region& block, void* at, size_t bytes);

  static constexpr size_t kArenaBytes = size_t{1} << 30;
  std::byte* arena_;
  size_t used_ = 0;
  std::map<const std::byte*, std::unique_ptr<Region>> blocks_;  // by their start
  Region* last_ = nullptr;                                      // found last
  int numbered_ = 0;
};

// Opens device memory as long as it lives.
class DeviceAccess {
 public:
  DeviceAccess() { DeviceMemory::instance().open(); }
  ~DeviceAccess() { DeviceMemory::instance().close(); }
  DeviceAccess(const DeviceAccess&) = delete;
  DeviceAccess& operator=(const DeviceAccess&) = delete;
};

// The epoch that accesses of now belong to, and the next one.
uint32_t epoch();
uint32_t next_epoch();

}  // namespace emulation

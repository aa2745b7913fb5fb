#include "emulation/block.h"

#include <cstring>

#include "core/check.h"

extern "C" {
// Of the program or library that this is linked into, by the linker.
__attribute__((visibility("hidden"))) extern const char __ehdr_start, end;
__attribute__((weak)) void __sanitizer_symbolize_pc(void* pc, const char* format, char* out, size_t size);
}

namespace emulation {
namespace {

constexpr size_t kSharedAlignment = 128;
constexpr uint32_t kMaxThreads = 1024;
constexpr size_t kMaxShared = 227 << 10;  // bytes, of compute capability 9.0

Block* active_block = nullptr;

std::string short_name(const std::string& path) { return path.substr(path.find_last_of('/') + 1); }

std::unique_ptr<std::byte[]> aligned_bytes(size_t bytes) { return std::make_unique<std::byte[]>(bytes + kSharedAlignment); }
std::byte* aligned(std::byte* at) {
  const auto address = reinterpret_cast<uintptr_t>(at);
  return at + (kSharedAlignment - address % kSharedAlignment) % kSharedAlignment;
}

bool is_kernel_line(const std::string& line) { return line.find(".cu:") != std::string::npos; }

std::string triple(Dim3 d) { return zazen::text("(", d.x, ", ", d.y, ", ", d.z, ")"); }

}  // namespace

uint32_t packed_pc(const void* pc) { return static_cast<uint32_t>(static_cast<const char*>(pc) - &__ehdr_start); }
const void* unpacked_pc(uint32_t pc) { return &__ehdr_start + pc; }

std::string line_of(const void* pc) {
  char out[512] = "";
  if (__sanitizer_symbolize_pc) {
    void* call = const_cast<char*>(static_cast<const char*>(pc) - 1);  // pc is where the call returns to
    __sanitizer_symbolize_pc(call, "%s:%l", out, sizeof out);
    return short_name(out);
  }
  return zazen::text("program + ", packed_pc(pc));
}
std::string line_of(Place place) { return zazen::text(short_name(place.file), ":", place.line); }

Block& Block::running() { return *active_block; }
bool Block::active() { return active_block && active_block->current_; }

Block::Block(const Launch& launch, std::vector<std::unique_ptr<Thread>>& threads)
    : launch_(launch),
      threads_(threads),
      shared_bytes_(aligned_bytes(launch.shared_bytes)),
      shared_(aligned(shared_bytes_.get()), launch.shared_bytes, "shared memory"),
      launch_epoch_(next_epoch()) {
  active_block = this;
}
Block::~Block() { active_block = nullptr; }

void Block::enter(void* thread) {
  auto* self = static_cast<Thread*>(thread);
  Block& block = running();
  block.launch_.kernel(block.launch_.parameters);
  self->state = Thread::State::finished;
  size_t copies = self->copies.size();
  for (const auto& group : self->groups) copies += group.size();
  if (copies) block.report("", zazen::text("left ", copies, " asynchronous copies that it never waited for"));
}

void Block::run(Dim3 index) {
  index_ = index;
  block_epoch_ = next_epoch();
  shared_.poison();
  for (uint32_t t = 0; t < count(); ++t) {
    Thread& thread = *threads_[t];
    thread.index = t;
    thread.state = Thread::State::ready;
    std::memset(thread.clocks, 0, sizeof thread.clocks);
    thread.clocks[thread.lane_of()] = 1;
    thread.groups.clear();
    thread.copies.clear();
    thread.calls.clear();
    thread.fiber.start(&Block::enter, &thread);
  }
  while (step()) {
  }
}

// Runs every thread that is ready once. False when all have finished.
bool Block::step() {
  bool ran = false, waiting = false;
  for (uint32_t t = 0; t < count(); ++t) {
    Thread& thread = *threads_[t];
    if (thread.state == Thread::State::ready) {
      current_ = &thread;
      thread.fiber.resume();
      current_ = nullptr;
      if (!error_.empty()) throw zazen::Error("EMULATION", error_);
      ran = true;
    }
    waiting = waiting || thread.state != Thread::State::finished;
  }
  if (!ran && waiting && !cross_barrier()) throw zazen::Error("EMULATION", stuck());
  return waiting;
}

// When every thread waits at the same barrier, all go on.
bool Block::cross_barrier() {
  const Thread& first = *threads_[0];
  for (uint32_t t = 0; t < count(); ++t) {
    const Thread& thread = *threads_[t];
    if (thread.state != Thread::State::at_barrier) return false;
    if (thread.place.line != first.place.line || std::strcmp(thread.place.file, first.place.file) != 0) return false;
  }
  next_epoch();
  for (uint32_t t = 0; t < count(); ++t) threads_[t]->state = Thread::State::ready;
  return true;
}

std::string Block::where(const Thread& thread) const {
  const std::string who = zazen::text("thread ", thread.index, " (warp ", thread.warp(), ", lane ", thread.lane_of(), ")");
  switch (thread.state) {
    case Thread::State::ready:
      return who;
    case Thread::State::finished:
      return who + " has ended";
    case Thread::State::at_barrier:
      return zazen::text(who, " waits at the barrier of ", line_of(thread.place));
    case Thread::State::at_meeting:
      return zazen::text(who, " waits in ", thread.name, " of ", line_of(thread.place));
  }
  return who;
}

// Nothing can go on: who waits for whom.
std::string Block::stuck() const {
  const std::string head = zazen::text("[emulation] ", launch_.op, ", block ", triple(index_), ": ");
  for (uint32_t t = 0; t < count(); ++t) {
    const Thread& thread = *threads_[t];
    if (thread.state != Thread::State::at_meeting) continue;
    for (uint32_t lane = 0; lane < kWarp; ++lane) {
      const uint32_t other = thread.warp() * kWarp + lane;
      if (!(thread.mask >> lane & 1)) continue;
      const Thread& missing = *threads_[other];
      const bool there = missing.state == Thread::State::at_meeting && missing.place.line == thread.place.line;
      if (!there) return zazen::text(head, where(thread), " for lane ", lane, ", but ", where(missing));
    }
    return zazen::text(head, where(thread), " with lanes of other masks or operations");
  }
  for (uint32_t t = 1; t < count(); ++t) {
    const Thread &one = *threads_[0], &other = *threads_[t];
    if (one.state != other.state || one.place.line != other.place.line)
      return zazen::text(head, "divergent barrier: ", where(one), ", but ", where(other));
  }
  return head + "threads wait for each other";
}

bool Block::ordered(const Access& before) const {
  if (before.epoch < launch_epoch_) return true;
  if (before.epoch < block_epoch_) return false;  // of another block of this launch
  if (before.epoch < epoch() || before.thread == current_->index) return true;
  const bool same_warp = before.thread / kWarp == current_->warp();
  return same_warp && before.clock <= current_->clocks[before.thread % kWarp];
}

Access Block::access_of(const void* pc) const {
  return {epoch(), current_->clocks[current_->lane_of()], current_->index, packed_pc(pc)};
}

void Block::wait(Thread::State state, Place place) {
  Thread& self = *current_;
  self.state = state;
  self.place = place;
  self.fiber.suspend();
}

// The current thread is the last to come when every other lane of its mask waits in the same operation of the same line.
bool Block::complete_meeting() {
  const Thread& self = *current_;
  void* lanes[kWarp] = {};
  for (uint32_t lane = 0; lane < kWarp; ++lane) {
    if (!(self.mask >> lane & 1)) continue;
    const Thread& other = *threads_[self.warp() * kWarp + lane];
    const bool there = &other == &self || (other.state == Thread::State::at_meeting && other.mask == self.mask &&
                                           other.combine == self.combine && other.place.line == self.place.line);
    if (!there) return false;
    lanes[lane] = other.lane;
  }
  self.combine(lanes, self.mask);
  for (uint32_t lane = 0; lane < kWarp; ++lane)
    if (self.mask >> lane & 1) threads_[self.warp() * kWarp + lane]->state = Thread::State::ready;
  return true;
}

void Block::report(const std::string& line, const std::string& what) {
  const Thread& self = *current_;
  std::string at = line.empty() ? "" : " at " + line;
  // A line of a helper says little: those that called it, up to the kernel's file.
  bool known = line.empty() || is_kernel_line(line);
  for (auto call = self.calls.rbegin(); !known && call != self.calls.rend(); ++call) {
    const std::string from = line_of(*call);
    at += ", called from " + from;
    known = is_kernel_line(from);
  }
  const std::string who = zazen::text("[emulation] ", launch_.op, ", block ", triple(index_), ", ", where(self));
  error_ = who + at + " " + what;
}

void run(const Launch& launch) {
  static std::vector<std::unique_ptr<Thread>> threads;
  ZAZEN_CHECK(!active_block, "EMULATION", "[emulation] ", launch.op, ": expected no other launch under way");
  ZAZEN_CHECK(launch.block.count() > 0 && launch.block.count() <= kMaxThreads, "EMULATION", "[emulation] ", launch.op,
              ": expected 1 to ", kMaxThreads, " threads a block, got ", launch.block.count());
  ZAZEN_CHECK(launch.grid.count() > 0, "EMULATION", "[emulation] ", launch.op, ": expected a grid that is not empty");
  ZAZEN_CHECK(launch.shared_bytes <= kMaxShared, "EMULATION", "[emulation] ", launch.op, ": expected at most ", kMaxShared,
              " bytes of shared memory, got ", launch.shared_bytes);
  while (threads.size() < launch.block.count()) threads.push_back(std::make_unique<Thread>());
  Block block(launch, threads);
  const DeviceAccess access;
  for (unsigned z = 0; z < launch.grid.z; ++z)
    for (unsigned y = 0; y < launch.grid.y; ++y)
      for (unsigned x = 0; x < launch.grid.x; ++x) block.run({x, y, z});
}

Dim3 thread_index() {
  const Block& block = Block::running();
  const uint32_t i = Block::running().thread().index;
  const Dim3 size = block.launch().block;
  return {i % size.x, i / size.x % size.y, i / (size.x * size.y)};
}
Dim3 block_index() { return Block::running().index(); }
Dim3 block_size() { return Block::running().launch().block; }
Dim3 grid_size() { return Block::running().launch().grid; }
int lane_index() { return static_cast<int>(Block::running().thread().lane_of()); }

void* shared_memory(size_t bytes) {
  const Region& shared = Block::running().shared();
  if (shared.size < bytes)
    fail(__builtin_return_address(0),
         [&] { return zazen::text("uses ", bytes, " bytes of shared memory, but the launch has ", shared.size); });
  return shared.base;
}

void report(const std::string& what, Place place) { Block::running().report(line_of(place), what); }
void report(const std::string& what, const void* pc) { Block::running().report(line_of(pc), what); }
void stop() {
  for (;;) Block::running().thread().fiber.suspend();
}

}  // namespace emulation

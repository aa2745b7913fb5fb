// Barriers and what the lanes of a warp do together.
#include <algorithm>

#include "core/check.h"
#include "emulation/block.h"

namespace emulation {
namespace {

std::string hex(uint32_t mask) {
  char out[16];
  std::snprintf(out, sizeof out, "0x%08x", mask);
  return out;
}

struct ShuffleLane {
  uint64_t bits;
  int source;
  uint64_t result;
};
void combine_shuffle(void* const* lanes, uint32_t mask) {
  for (int i = 0; i < kWarp; ++i) {
    if (!(mask >> i & 1)) continue;
    auto* lane = static_cast<ShuffleLane*>(lanes[i]);
    lane->result = static_cast<ShuffleLane*>(lanes[lane->source])->bits;
  }
}

struct BallotLane {
  bool predicate;
  uint32_t result;
};
void combine_ballot(void* const* lanes, uint32_t mask) {
  uint32_t votes = 0;
  for (int i = 0; i < kWarp; ++i)
    if (mask >> i & 1 && static_cast<BallotLane*>(lanes[i])->predicate) votes |= 1u << i;
  for (int i = 0; i < kWarp; ++i)
    if (mask >> i & 1) static_cast<BallotLane*>(lanes[i])->result = votes;
}

// Every lane comes after what every other one did before.
void combine_sync(void* const* lanes, uint32_t mask) {
  uint32_t joint[kWarp] = {};
  for (int i = 0; i < kWarp; ++i)
    for (int of = 0; mask >> i & 1 && of < kWarp; ++of) joint[of] = std::max(joint[of], static_cast<uint32_t*>(lanes[i])[of]);
  for (int i = 0; i < kWarp; ++i) {
    if (!(mask >> i & 1)) continue;
    std::copy(joint, joint + kWarp, static_cast<uint32_t*>(lanes[i]));
    ++static_cast<uint32_t*>(lanes[i])[i];
  }
}

}  // namespace

void sync_threads(Place place) { Block::running().wait(Thread::State::at_barrier, place); }

void meet(const char* name, uint32_t mask, void* lane, Combine combine, Place place) {
  Block& block = Block::running();
  Thread& self = block.thread();
  if (!(mask >> self.lane_of() & 1))
    fail(place, [&] { return zazen::text("runs ", name, " with mask ", hex(mask), ", which lacks the lane itself"); });
  const uint32_t lanes = std::min<uint32_t>(kWarp, block.count() - self.warp() * kWarp);
  if (lanes < kWarp && mask >> lanes)
    fail(place, [&] { return zazen::text("runs ", name, " with mask ", hex(mask), ", but its warp has ", lanes, " lanes"); });
  self.name = name;
  self.mask = mask;
  self.lane = lane;
  self.combine = combine;
  self.place = place;
  if (!block.complete_meeting()) block.wait(Thread::State::at_meeting, place);
}

void sync_warp(uint32_t mask, Place place) { meet("__syncwarp", mask, Block::running().thread().clocks, combine_sync, place); }

uint64_t shuffle(const char* name, uint32_t mask, uint64_t bits, int source, Place place) {
  ShuffleLane lane{bits, source < 0 ? lane_index() : source, 0};
  if (lane.source >= kWarp || !(mask >> lane.source & 1))
    fail(place,
         [&] { return zazen::text("reads lane ", lane.source, " by ", name, ", which is not in its mask ", hex(mask)); });
  meet(name, mask, &lane, combine_shuffle, place);
  return lane.result;
}

uint32_t ballot(const char* name, uint32_t mask, bool predicate, Place place) {
  BallotLane lane{predicate, 0};
  meet(name, mask, &lane, combine_ballot, place);
  return lane.result;
}

}  // namespace emulation

// Matrix loads, the matrix product of a warp, and asynchronous copies.
#include <bit>
#include <cstring>

#include "core/check.h"
#include "core/dtype.h"
#include "emulation/block.h"

namespace emulation {
namespace {

constexpr uint32_t kWholeWarp = 0xFFFFFFFF;
constexpr int kRows = 8, kColumns = 8;  // of a matrix of ldmatrix
constexpr size_t kRowBytes = 16;

struct MatrixLane {
  const uint16_t* row;
  uint32_t registers[4];
  int count;
  bool transposed;
};

uint32_t pair(uint16_t low, uint16_t high) { return low | static_cast<uint32_t>(high) << 16; }

// Register i of lane l: elements (l / 4, 2 (l % 4)) and the one to its right of matrix i, rows and columns exchanged if asked.
void combine_matrices(void* const* lanes, uint32_t) {
  const auto lane = [&](int i) -> MatrixLane& { return *static_cast<MatrixLane*>(lanes[i]); };
  for (int m = 0; m < lane(0).count; ++m)
    for (int l = 0; l < kWarp; ++l) {
      const int row = l / 4, column = l % 4 * 2;
      const auto at = [&](int r, int c) {
        return lane(0).transposed ? lane(m * kRows + c).row[r] : lane(m * kRows + r).row[c];
      };
      lane(l).registers[m] = pair(at(row, column), at(row, column + 1));
    }
}

struct ProductLane {
  const uint32_t *a, *b;
  const float* c;
  float* d;
};

double value_of(uint32_t two, int half) {
  return static_cast<double>(zazen::bf16_to_f32(static_cast<uint16_t>(half ? two >> 16 : two & 0xFFFF)));
}

// Lane l = 4 g + t holds A rows g and g + 8 at k = 2 t, 2 t + 1 (registers 0, 1) and k + 8 (2, 3); B column g at k = 2 t,
// 2 t + 1 and k + 8; C rows g and g + 8 at columns 2 t, 2 t + 1.
void combine_product(void* const* lanes, uint32_t) {
  double a[16][16], b[16][8];
  for (int l = 0; l < kWarp; ++l) {
    const auto& lane = *static_cast<ProductLane*>(lanes[l]);
    const int g = l / 4, t = l % 4;
    for (int half = 0; half < 2; ++half) {
      for (int i = 0; i < 4; ++i) a[g + i % 2 * 8][2 * t + half + i / 2 * 8] = value_of(lane.a[i], half);
      for (int i = 0; i < 2; ++i) b[2 * t + half + i * 8][g] = value_of(lane.b[i], half);
    }
  }
  for (int l = 0; l < kWarp; ++l) {
    const auto& lane = *static_cast<ProductLane*>(lanes[l]);
    for (int i = 0; i < 4; ++i) {
      const int row = l / 4 + i / 2 * 8, column = l % 4 * 2 + i % 2;
      double sum = static_cast<double>(lane.c[i]);
      for (int k = 0; k < 16; ++k) sum += a[row][k] * b[k][column];
      lane.d[i] = static_cast<float>(sum);
    }
  }
}

void deliver(Block& block, const PendingCopy& copy) {
  const Access now = block.access_of(copy.pc);
  std::memcpy(copy.target, copy.source, copy.source_bytes);
  std::memset(static_cast<std::byte*>(copy.target) + copy.source_bytes, 0, copy.bytes - copy.source_bytes);
  for (size_t i = 0; i < copy.bytes; ++i) block.shared().cells_of(copy.target)[i] = Cell{now, {}, {}};
}

}  // namespace

void load_matrices(uint32_t* registers, int count, bool transposed, const void* row, Place place) {
  const void* pc = __builtin_return_address(0);
  if (lane_index() < count * kRows) {
    access(row, kRowBytes, false, kRowBytes, pc);
    if (!Block::running().shared().holds(row))
      fail(place, [&] { return std::string("loads a matrix that is not in shared memory"); });
  }
  MatrixLane lane{static_cast<const uint16_t*>(row), {}, count, transposed};
  meet("ldmatrix", kWholeWarp, &lane, combine_matrices, place);
  for (int i = 0; i < count; ++i) registers[i] = lane.registers[i];
}

void multiply_16_8_16(float* d, const uint32_t* a, const uint32_t* b, const float* c, Place place) {
  float result[4];
  ProductLane lane{a, b, c, result};
  meet("mma", kWholeWarp, &lane, combine_product, place);
  std::memcpy(d, result, sizeof result);
}

void copy_async(void* target, const void* source, size_t bytes, size_t source_bytes) {
  const void* pc = __builtin_return_address(0);
  Block& block = Block::running();
  if (bytes != 4 && bytes != 8 && bytes != 16) fail(pc, [&] { return zazen::text("copies ", bytes, " bytes by cp.async"); });
  if (source_bytes > 0) access(source, source_bytes, false, 1, pc);
  if (reinterpret_cast<uintptr_t>(source) % bytes != 0)
    fail(pc, [&] { return zazen::text("copies ", bytes, " bytes from an address that is not a multiple of it"); });
  access(target, bytes, true, bytes, pc);
  if (!block.shared().holds(target)) fail(pc, [&] { return std::string("copies to what is not shared memory by cp.async"); });
  std::memset(target, 0xFF, bytes);
  for (size_t i = 0; i < bytes; ++i) block.shared().cells_of(target)[i].write.epoch = 0;
  block.thread().copies.push_back({target, source, bytes, source_bytes, pc});
}

void commit_copies() {
  Thread& self = Block::running().thread();
  self.groups.push_back(std::move(self.copies));
  self.copies.clear();
}

void wait_for_copies(int groups_left) {
  Block& block = Block::running();
  auto& groups = block.thread().groups;
  while (static_cast<int>(groups.size()) > groups_left) {
    for (const PendingCopy& copy : groups.front()) deliver(block, copy);
    groups.erase(groups.begin());
  }
}

}  // namespace emulation

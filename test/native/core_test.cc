// Random numbers, owned memory and the thread pool.
#include <atomic>
#include <utility>

#include "core/buffer.h"
#include "support.h"

namespace zazen::test {
namespace {

// Known answers of the authors' library (Random123, kat_vectors, philox4x32 with 10 rounds).
TEST(philox_gives_the_known_answers) {
  CHECK((philox(0, {0, 0, 0, 0}) == Counter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  CHECK((philox(~0ull, {~0u, ~0u, ~0u, ~0u}) == Counter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  CHECK((philox(0x299f31d0a4093822ull, {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}) ==
         Counter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(uniform_covers_its_interval_and_stays_below_one) {
  CHECK(uniform(0) == 0.0f);
  CHECK(uniform(~0u) == 1.0f - 0x1p-24f);
  CHECK(uniform(1u << 31) == 0.5f);
  double total = 0;
  constexpr int kCount = 100000;
  for (uint32_t i = 0; i < kCount; ++i) total += static_cast<double>(uniform(philox(7, {i, 0, 0, 0})[2]));
  CHECK_NEAR(total / kCount, 0.5, 0.005);
}

TEST(buffer_is_zeroed_and_aligned) {
  for (const size_t count : {1u, 15u, 16u, 1001u}) {
    const Buffer<float> buffer(count);
    CHECK(buffer.size() == count);
    CHECK(reinterpret_cast<uintptr_t>(buffer.data()) % Buffer<float>::kAlignment == 0);
    bool zeros = true;
    for (size_t i = 0; i < count; ++i) zeros &= buffer[i] == 0.0f;
    CHECK(zeros);
  }
  CHECK(Buffer<float>(0).data() == nullptr);
}

TEST(buffer_moves_and_grows) {
  Buffer<int32_t> a(5);
  a[4] = 9;
  Buffer<int32_t> b(std::move(a));
  CHECK(b.size() == 5 && b[4] == 9);
  const int32_t* place = b.data();
  b.reserve(3);
  CHECK(b.data() == place && b.size() == 5);
  b.reserve(4000);
  CHECK(b.size() == 4000 && b[4] == 0);
  Buffer<int32_t> c(2);
  c = std::move(b);
  CHECK(c.size() == 4000);
}

TEST(buffer_refuses_what_does_not_fit) {
  CHECK_THROWS_CODE(Buffer<float>(SIZE_MAX / 2), "OUT_OF_MEMORY");
  Buffer<float> buffer(4);
  CHECK_THROWS_CODE(buffer.reset(SIZE_MAX), "OUT_OF_MEMORY");
  CHECK(buffer.size() == 0 && buffer.data() == nullptr);
}

using Hits = std::vector<std::atomic<int>>;
void hit(void* context, int64_t index) { ++(*static_cast<Hits*>(context))[static_cast<size_t>(index)]; }

TEST(thread_pool_calls_every_index_once) {
  for (int threads = 1; threads <= 4; ++threads) {
    ThreadPool pool(threads);
    CHECK(pool.threads() == threads);
    for (const int64_t count : {0, 1, 2, 3, 100, 1000}) {
      Hits hits(static_cast<size_t>(count));
      pool.run(count, hit, &hits);
      bool once = true;
      for (const auto& h : hits) once &= h == 1;
      CHECK(once);
    }
  }
}

// Many short loops of changing size: a worker that is late for one must not touch the next.
TEST(thread_pool_survives_many_small_loops) {
  ThreadPool pool(3);
  Hits hits(7);
  constexpr int kLoops = 20000;
  for (int i = 0; i < kLoops; ++i) pool.run(1 + i % 7, hit, &hits);
  int total = 0, want = 0;
  for (const auto& h : hits) total += h;
  for (int i = 0; i < kLoops; ++i) want += 1 + i % 7;
  CHECK(total == want);
}

TEST(thread_pool_ends_while_idle_asleep_or_fresh) {
  for (int i = 0; i < 50; ++i) ThreadPool fresh(3);
  Hits hits(64);
  for (int i = 0; i < 50; ++i) {
    ThreadPool used(2);
    used.run(64, hit, &hits);
  }
  ThreadPool asleep(3);
  asleep.run(64, hit, &hits);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  asleep.run(64, hit, &hits);
  CHECK(hits[63] == 52);
}

TEST(thread_pool_needs_a_thread) { CHECK_THROWS_CODE(ThreadPool(0), "BAD_ARGUMENT"); }

}  // namespace
}  // namespace zazen::test

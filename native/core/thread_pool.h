// A fixed set of threads that run one loop at a time. The caller works too, so a pool of 1 starts no thread.
// Workers spin for a short while between loops and then sleep; a kernel's result never depends on their number.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "core/account.h"

namespace zazen {

class ThreadPool {
 public:
  using Task = void (*)(void* context, int64_t index);

  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls task(context, i) for every i in [0, count), in any order, and returns when all are done.
  // Tasks must not throw. Not reentrant.
  void run(int64_t count, Task task, void* context);

 private:
  void work();
  void drain();
  void shut_down();

  Account account_ = open_account();
  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<uint64_t> generation_{0};
  std::atomic<int64_t> next_{0};
  std::atomic<int> busy_{0};
  std::atomic<bool> stop_{false};
  int sleepers_ = 0;
  int64_t count_ = 0;
  Task task_ = nullptr;
  void* context_ = nullptr;
};

// Calls body(i) for every i in [0, count) on the pool. `body` lives until the loop is done.
template <class Body>
inline void parallel_for(ThreadPool& pool, int64_t count, const Body& body) {
  pool.run(
      count, [](void* context, int64_t index) { (*static_cast<const Body*>(context))(index); },
      const_cast<void*>(static_cast<const void*>(&body)));
}

// Calls body(begin, end) on consecutive pieces of [0, count), each at most `piece` long.
template <class Body>
inline void parallel_pieces(ThreadPool& pool, int64_t count, int64_t piece, const Body& body) {
  parallel_for(pool, (count + piece - 1) / piece, [&](int64_t index) {
    const int64_t begin = index * piece;
    body(begin, begin + piece < count ? begin + piece : count);
  });
}

}  // namespace zazen

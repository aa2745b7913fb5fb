#include "core/thread_pool.h"

#include <system_error>

#include "core/check.h"
#include "core/float_mode.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace zazen {
namespace {

constexpr int kSpins = 1000;  // about 70 us: longer than the gap between two kernels, shorter than a scheduler tick

void relax() {
#if defined(__x86_64__)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  ZAZEN_CHECK(threads >= 1, "BAD_ARGUMENT", "thread pool: expected at least 1 thread, got ", threads);
  try {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { work(); });
  } catch (const std::system_error& error) {
    const size_t started = workers_.size() + 1;
    shut_down();
    throw Error("THREADS",
                text("[threads] expected ", threads, " threads, got ", started, ": ", error.what(), "; ask for fewer"));
  }
}

ThreadPool::~ThreadPool() { shut_down(); }

void ThreadPool::shut_down() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
    ++generation_;
  }
  wake_.notify_all();
  for (auto& worker : workers_) worker.join();
  workers_.clear();
}

void ThreadPool::run(int64_t count, Task task, void* context) {
  if (count <= 0) return;
  const FloatMode mode;
  if (workers_.empty() || count == 1) {
    for (int64_t i = 0; i < count; ++i) task(context, i);
    return;
  }
  bool sleeping;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    count_ = count;
    task_ = task;
    context_ = context;
    next_ = 0;
    busy_ = static_cast<int>(workers_.size());
    ++generation_;
    sleeping = sleepers_ > 0;
  }
  if (sleeping) wake_.notify_all();
  drain();
  while (busy_.load(std::memory_order_acquire) != 0) relax();
}

void ThreadPool::drain() {
  for (int64_t i = next_.fetch_add(1); i < count_; i = next_.fetch_add(1)) task_(context_, i);
}

void ThreadPool::work() {
  const Accounting accounting(account_);
  const FloatMode mode;
  uint64_t seen = 0;
  for (;;) {
    for (int spin = 0; spin < kSpins && generation_.load(std::memory_order_acquire) == seen; ++spin) relax();
    {
      std::unique_lock<std::mutex> lock(mutex_);
      ++sleepers_;
      wake_.wait(lock, [&] { return generation_.load() != seen; });
      --sleepers_;
      seen = generation_.load();
    }
    if (stop_) return;
    drain();
    busy_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace zazen

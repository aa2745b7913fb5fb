// Counts the bytes of Buffers. A buffer belongs to the account that is open on the thread that allocates it; the account lives
// as long as the last of its buffers. Threads of a pool have the account of the thread that made the pool.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

namespace zazen {

struct MemoryAccount {
  std::atomic<int64_t> bytes{0}, peak{0}, allocations{0};

  void take(int64_t count) {
    ++allocations;
    const int64_t total = bytes += count;
    for (int64_t seen = peak; total > seen && !peak.compare_exchange_weak(seen, total);) {
    }
  }
  void give(int64_t count) { bytes -= count; }
};

using Account = std::shared_ptr<MemoryAccount>;  // null: nobody counts

inline Account& open_account() {
  thread_local Account account;
  return account;
}

// Opens an account on this thread until the end of its scope.
class Accounting {
 public:
  explicit Accounting(Account account) : before_(std::exchange(open_account(), std::move(account))) {}
  ~Accounting() { open_account() = std::move(before_); }
  Accounting(const Accounting&) = delete;
  Accounting& operator=(const Accounting&) = delete;

 private:
  Account before_;
};

}  // namespace zazen

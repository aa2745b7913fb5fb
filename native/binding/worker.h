// The engine's own thread. One job at a time: work runs there, its result is made and its promise settled on the JavaScript
// thread. Tokens of a job that is listened to wait in a queue of bounded length; while it is full, the work waits.
#pragma once

#include <napi.h>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "runtime/control.h"

namespace zazen::binding {

struct Job {
  std::function<void(Control&)> work;            // engine's thread
  std::function<Napi::Value(Napi::Env)> result;  // JavaScript's thread
  Napi::Promise::Deferred deferred;
  Napi::FunctionReference on_progress;  // may be empty
  Napi::FunctionReference on_tokens;    // may be empty; says that there are tokens to take
  bool aborted = false;                 // before it began
  Napi::ObjectReference owner;          // kept alive while the job runs
  std::string code, message;            // of the error; code empty when there was none
  explicit Job(Napi::Env env) : deferred(Napi::Promise::Deferred::New(env)) {}
};

class Worker {
 public:
  explicit Worker(Napi::Env env);
  ~Worker() { stop(); }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // ENGINE_BUSY while a job runs, ENGINE_DISPOSED after stop().
  Napi::Promise submit(Napi::Env env, std::unique_ptr<Job> job);
  void abort();
  // What is in the queue. JavaScript's thread only.
  std::vector<TokenEvent> take_tokens();
  // Aborts what runs and joins the thread; idempotent. JavaScript's thread only.
  void stop();
  bool stopped() const { return stopped_; }

 private:
  void loop();
  void perform(Job& job);
  void report_progress();
  void queue_tokens(const std::vector<TokenEvent>& events);
  void settle(Napi::Env env);

  static constexpr size_t kMaxQueued = 4096;  // tokens at which the work waits

  std::mutex mutex_;
  std::condition_variable wake_;
  Control control_;
  std::unique_ptr<Job> job_;  // from submit to settle
  bool ready_ = false, stopping_ = false, stopped_ = false;
  std::atomic<bool> progress_posted_{false};
  std::mutex queue_mutex_;
  std::condition_variable room_;
  std::vector<TokenEvent> queue_;
  bool tokens_posted_ = false;  // with queue_mutex_
  std::atomic<int64_t> finished_{0}, total_{0}, tokens_{0};
  Napi::ThreadSafeFunction calls_;
  std::thread thread_;
};

}  // namespace zazen::binding

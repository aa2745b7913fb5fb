#include "binding/worker.h"

#include <system_error>
#include <utility>

#include "binding/convert.h"
#include "core/float_mode.h"

namespace zazen::binding {

Worker::Worker(Napi::Env env)
    : calls_(Napi::ThreadSafeFunction::New(env, Napi::Function::New(env, [](const Napi::CallbackInfo&) {}), "zazen", 0, 1)) {
  calls_.Unref(env);
  try {
    thread_ = std::thread([this] { loop(); });
  } catch (const std::system_error& error) {
    calls_.Release();
    throw to_error(env, "THREADS", text("[engine] expected a thread of its own, got: ", error.what()));
  }
}

Napi::Promise Worker::submit(Napi::Env env, std::unique_ptr<Job> job) {
  ZAZEN_CHECK(!stopped_, "ENGINE_DISPOSED", "[engine] expected a live engine, got one that was disposed");
  ZAZEN_CHECK(!job_, "ENGINE_BUSY", "[engine] expected one call at a time, got a second; await the first");
  const Napi::Promise promise = job->deferred.Promise();
  control_.aborted = job->aborted;
  control_.progress = nullptr;
  if (!job->on_progress.IsEmpty())
    control_.progress = [this](int64_t finished, int64_t total, int64_t tokens) {
      finished_ = finished;
      total_ = total;
      tokens_ = tokens;
      report_progress();
    };
  take_tokens();  // of a job before
  control_.stream = nullptr;
  if (!job->on_tokens.IsEmpty()) control_.stream = [this](const std::vector<TokenEvent>& events) { queue_tokens(events); };
  calls_.Ref(env);  // a running job keeps the process alive
  {
    std::lock_guard<std::mutex> lock(mutex_);
    job_ = std::move(job);
    ready_ = true;
  }
  wake_.notify_one();
  return promise;
}

void Worker::abort() {
  {
    std::lock_guard<std::mutex> lock(queue_mutex_);
    control_.aborted = true;
  }
  room_.notify_all();
}

std::vector<TokenEvent> Worker::take_tokens() {
  std::vector<TokenEvent> taken;
  {
    std::lock_guard<std::mutex> lock(queue_mutex_);
    taken.swap(queue_);
    tokens_posted_ = false;
  }
  room_.notify_all();
  return taken;
}

// Says so once until they are taken. On the engine's thread.
void Worker::queue_tokens(const std::vector<TokenEvent>& events) {
  std::unique_lock<std::mutex> lock(queue_mutex_);
  room_.wait(lock, [this] { return queue_.size() < kMaxQueued || control_.aborted; });
  queue_.insert(queue_.end(), events.begin(), events.end());
  if (std::exchange(tokens_posted_, true)) return;
  lock.unlock();
  calls_.NonBlockingCall([this](Napi::Env env, Napi::Function) {
    if (!job_ || job_->on_tokens.IsEmpty()) return;
    Napi::HandleScope scope(env);
    job_->on_tokens.Call({});
  });
}

void Worker::stop() {
  if (stopped_) return;
  stopped_ = true;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  abort();
  wake_.notify_one();
  thread_.join();
  calls_.Release();
}

void Worker::loop() {
  const FloatMode mode;
  for (;;) {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [this] { return ready_ || stopping_; });
      if (!ready_) return;
      ready_ = false;
    }
    perform(*job_);
    calls_.BlockingCall([this](Napi::Env env, Napi::Function) { settle(env); });
  }
}

void Worker::perform(Job& job) {
  try {
    job.work(control_);
  } catch (const Error& error) {
    job.code = error.code();
    job.message = error.what();
  } catch (const std::bad_alloc&) {
    job.code = "OUT_OF_MEMORY";
    job.message = "[native] the system refused memory";
  } catch (const std::exception& error) {
    job.code = "INTERNAL";
    job.message = error.what();
  }
}

// At most one call waits in the queue; it carries the newest figures.
void Worker::report_progress() {
  if (progress_posted_.exchange(true)) return;
  calls_.NonBlockingCall([this](Napi::Env env, Napi::Function) {
    progress_posted_ = false;
    if (!job_ || job_->on_progress.IsEmpty()) return;
    Napi::HandleScope scope(env);
    Napi::Object progress = Napi::Object::New(env);
    progress.Set("finished", static_cast<double>(finished_));
    progress.Set("total", static_cast<double>(total_));
    progress.Set("tokens", static_cast<double>(tokens_));
    job_->on_progress.Call({progress});
  });
}

void Worker::settle(Napi::Env env) {
  Napi::HandleScope scope(env);
  const std::unique_ptr<Job> job = std::move(job_);
  if (!stopped_) calls_.Unref(env);
  if (!job->code.empty()) {
    job->deferred.Reject(to_error(env, job->code, job->message).Value());
    return;
  }
  try {
    const Napi::Value value = guarded(env, [&] { return job->result(env); });
    job->deferred.Resolve(value);
  } catch (const Napi::Error& error) {
    job->deferred.Reject(error.Value());
  }
}

}  // namespace zazen::binding

#include "binding/engine.h"

#include "binding/arguments.h"
#include "binding/convert.h"
#include "binding/results.h"

namespace zazen::binding {
namespace {

// Numbers of parameters.
struct Sizes {
  int64_t parameters = 0, trained = 0;
};

// {an engine's options, workload} -> bytes of each part
Napi::Value plan_memory_of(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Napi::Object args = object(info[0], "planMemory");
    const MemoryPlan plan = plan_memory(engine_config(args), workload_of(object(args.Get("workload"), "workload")));
    return plan_object(info.Env(), plan);
  });
}

}  // namespace

void EngineObject::define(Napi::Env env, Napi::Object exports) {
  exports.Set("planMemory", Napi::Function::New<plan_memory_of>(env));
  exports.Set(
      "Engine",
      DefineClass(
          env, "Engine",
          {InstanceMethod<&EngineObject::open>("open"), InstanceMethod<&EngineObject::generate>("generate"),
           InstanceMethod<&EngineObject::reserve>("reserve"), InstanceMethod<&EngineObject::use_vocabulary>("useVocabulary"),
           InstanceMethod<&EngineObject::take_tokens>("takeTokens"), InstanceMethod<&EngineObject::logprobs>("logprobs"),
           InstanceMethod<&EngineObject::values>("values"), InstanceMethod<&EngineObject::forward_backward>("forwardBackward"),
           InstanceMethod<&EngineObject::optim_step>("optimStep"), InstanceMethod<&EngineObject::save>("save"),
           InstanceMethod<&EngineObject::load>("load"), InstanceMethod<&EngineObject::sync_reference>("syncReference"),
           InstanceMethod<&EngineObject::save_state>("saveState"), InstanceMethod<&EngineObject::load_state>("loadState"),
           InstanceMethod<&EngineObject::gradient>("gradient"), InstanceMethod<&EngineObject::memory>("memory"),
           InstanceMethod<&EngineObject::abort>("abort"), InstanceMethod<&EngineObject::dispose>("dispose")}));
}

EngineObject::EngineObject(const Napi::CallbackInfo& info)
    : ObjectWrap(info),
      env_(info.Env()),
      cleanup_(env_.AddCleanupHook(
          +[](EngineObject* self) {
            self->environment_gone_ = true;
            self->close();
          },
          this)),
      worker_(env_) {}

EngineObject::~EngineObject() {
  if (!environment_gone_) cleanup_.Remove(env_);  // a hook that ran has freed itself
  close();
}

void EngineObject::close() {
  worker_.stop();
  engine_.reset();
}

Engine& EngineObject::engine() {
  ZAZEN_CHECK(engine_, "ENGINE_DISPOSED", "[engine] expected an open engine, got none");
  return *engine_;
}

// Runs work(control) -> Result on the engine's thread and resolves to convert(env, result).
template <class Result, class Work, class Convert>
Napi::Value EngineObject::run(const Napi::CallbackInfo& info, Work work, Convert convert) {
  auto job = std::make_unique<Job>(info.Env());
  auto result = std::make_shared<Result>();
  job->work = [result, work = std::move(work)](Control& control) { *result = work(control); };
  job->result = [result, convert](Napi::Env env) -> Napi::Value { return convert(env, *result); };
  job->aborted = info[0].IsObject() && info[0].As<Napi::Object>().Get("aborted").ToBoolean();
  if (info.Length() > 1 && info[1].IsFunction()) job->on_progress = Napi::Persistent(info[1].As<Napi::Function>());
  if (info.Length() > 2 && info[2].IsFunction()) job->on_tokens = Napi::Persistent(info[2].As<Napi::Function>());
  job->owner = Napi::Persistent(info.This().As<Napi::Object>());
  return worker_.submit(info.Env(), std::move(job));
}

Napi::Value EngineObject::open(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const Napi::Object args = object(info[0], "open");
    const EngineConfig config = engine_config(args);
    const std::vector<std::string> paths = strings(args, "paths");
    const auto seed = static_cast<uint64_t>(integer(args, "seed"));
    const auto std = static_cast<float>(number(args, "std"));
    return run<Sizes>(
        info,
        [this, config, paths, seed, std](Control&) {
          open_account() = account_;
          engine_ = std::make_unique<Engine>(config, paths, seed, std);
          return Sizes{engine_->parameters().count(), engine_->parameters().trained_count()};
        },
        [](Napi::Env env, const Sizes& sizes) -> Napi::Value {
          Napi::Object out = Napi::Object::New(env);
          out.Set("parameters", static_cast<double>(sizes.parameters));
          out.Set("trained", static_cast<double>(sizes.trained));
          return out;
        });
  });
}

Napi::Value EngineObject::generate(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    auto work = [this, args = generate_args(object(info[0], "generate"))](Control& control) {
      return engine().generate(args, control);
    };
    return run<Generated>(info, std::move(work), samples_object);
  });
}

Napi::Value EngineObject::use_vocabulary(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const Napi::Object args = object(info[0], "useVocabulary");
    auto work = [this, text = bytes(args, "bytes"), offsets = ints(args, "offsets")](Control&) {
      engine().use_vocabulary(Vocabulary(text, offsets));
      return 0;
    };
    return run<int>(info, std::move(work), [](Napi::Env env, int) { return env.Undefined(); });
  });
}

// The tokens that have come since the last call, while generate runs or after it.
Napi::Value EngineObject::take_tokens(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return tokens_object(info.Env(), worker_.take_tokens()); });
}

Napi::Value EngineObject::logprobs(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const Napi::Object o = object(info[0], "logprobs");
    const ScoreArgs args{packed_tokens(o), static_cast<float>(number(o, "temperature")), integer(o, "top")};
    const bool reference = boolean(o, "reference");
    auto work = [this, args, reference](Control& control) { return engine().score(args, reference, control); };
    return run<Scores>(info, std::move(work), scores_object);
  });
}

Napi::Value EngineObject::values(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const Napi::Object o = object(info[0], "values");
    auto work = [this, args = ValueArgs{packed_tokens(o), ints(o, "at")}](Control& control) {
      return engine().values(args, control);
    };
    return run<std::vector<float>>(info, std::move(work), float_values);
  });
}

Napi::Value EngineObject::forward_backward(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const Napi::Object o = object(info[0], "forwardBackward");
    auto work = [this, args = train_args(o), loss = loss_args(o)](Control& control) {
      return engine().forward_backward(args, loss, control);
    };
    return run<LossSums>(info, std::move(work), sums_object);
  });
}

Napi::Value EngineObject::optim_step(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    auto work = [this, args = optim_args(object(info[0], "optimStep"))](Control&) { return engine().step(args); };
    return run<OptimResult>(info, std::move(work), [](Napi::Env env, const OptimResult& result) -> Napi::Value {
      Napi::Object out = Napi::Object::New(env);
      out.Set("gradNorm", result.grad_norm);
      out.Set("step", static_cast<double>(result.step));
      return out;
    });
  });
}

// Runs act(engine) on the engine's thread and resolves to nothing.
template <class Act>
Napi::Value EngineObject::perform(const Napi::CallbackInfo& info, Act act) {
  auto work = [this, act = std::move(act)](Control&) {
    act(engine());
    return 0;
  };
  return run<int>(info, std::move(work), [](Napi::Env env, int) { return env.Undefined(); });
}

Napi::Value EngineObject::reserve(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const Napi::Object args = object(info[0], "reserve");
    return perform(
        info, [workload = workload_of(object(args.Get("workload"), "workload"))](Engine& engine) { engine.reserve(workload); });
  });
}

Napi::Value EngineObject::sync_reference(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto mix = static_cast<float>(number(object(info[0], "syncReference"), "mix"));
    return perform(info, [mix](Engine& engine) { engine.sync_reference(mix); });
  });
}

Napi::Value EngineObject::save(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const Napi::Object args = object(info[0], "save");
    return perform(info, [path = string(args, "path"), merged = boolean(args, "merged")](Engine& engine) {
      merged ? engine.save_merged(path) : engine.save(path);
    });
  });
}

Napi::Value EngineObject::load(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return perform(info, [path = string(object(info[0], "load"), "path")](Engine& engine) { engine.load(path); });
  });
}

Napi::Value EngineObject::save_state(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return perform(info, [paths = state_paths(object(info[0], "saveState"))](Engine& engine) { engine.save_state(paths); });
  });
}

Napi::Value EngineObject::load_state(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return perform(info, [paths = state_paths(object(info[0], "loadState"))](Engine& engine) { engine.load_state(paths); });
  });
}

Napi::Value EngineObject::gradient(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    auto work = [this, name = string(object(info[0], "gradient"), "name")](Control&) { return engine().gradient(name); };
    return run<std::vector<float>>(info, std::move(work), float_values);
  });
}

Napi::Value EngineObject::memory(const Napi::CallbackInfo& info) {
  Napi::Object out = Napi::Object::New(info.Env());
  out.Set("bytes", static_cast<double>(account_->bytes));
  out.Set("peakBytes", static_cast<double>(account_->peak));
  out.Set("allocations", static_cast<double>(account_->allocations));
  return out;
}

void EngineObject::abort(const Napi::CallbackInfo&) { worker_.abort(); }

void EngineObject::dispose(const Napi::CallbackInfo&) { close(); }

}  // namespace zazen::binding

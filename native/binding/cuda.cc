// The entry of the CUDA addon: arrays in device memory, the named kernels on them, and what the device is. JavaScript has
// validated shapes; these calls finish before they return.
#include <napi.h>

#include "binding/convert.h"
#include "kernels/cuda/cublaslt.h"
#include "kernels/cuda/memory.h"
#include "kernels/cuda/named.h"
#include "kernels/cuda/ops.h"

namespace zazen::binding {
namespace {

// An array of 32-bit elements in device memory, zero at first. Freed by dispose() or by the garbage collector.
class DeviceArray : public Napi::ObjectWrap<DeviceArray> {
 public:
  // (length)
  explicit DeviceArray(const Napi::CallbackInfo& info) : Napi::ObjectWrap<DeviceArray>(info) {
    guarded(info.Env(), [&] {
      bytes_ = checked_product(info[0].As<Napi::Number>().Int64Value(), kElementBytes);
      buffer_ = cuda::DeviceBuffer<std::byte>(static_cast<size_t>(bytes_));
      cuda::clear(buffer_.data(), buffer_.size());
    });
  }

  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "DeviceArray",
                       {InstanceMethod<&DeviceArray::write>("write"), InstanceMethod<&DeviceArray::read>("read"),
                        InstanceMethod<&DeviceArray::dispose>("dispose")});
  }

  template <class T>
  T* data() const {
    return reinterpret_cast<T*>(buffer_.data());
  }

 private:
  static constexpr int64_t kElementBytes = 4;

  // The bytes of a typed array of this length.
  static void* bytes_of(const Napi::Value& value) {
    const auto array = value.As<Napi::TypedArray>();
    return static_cast<std::byte*>(array.ArrayBuffer().Data()) + array.ByteOffset();
  }
  void write(const Napi::CallbackInfo& info) {
    guarded(info.Env(), [&] { cuda::upload(buffer_.data(), bytes_of(info[0]), buffer_.size()); });
  }
  void read(const Napi::CallbackInfo& info) {
    guarded(info.Env(), [&] { cuda::download(bytes_of(info[0]), buffer_.data(), buffer_.size()); });
  }
  void dispose(const Napi::CallbackInfo&) { buffer_ = {}; }

  int64_t bytes_ = 0;
  cuda::DeviceBuffer<std::byte> buffer_;
};

float* device_floats(const Napi::Object& args, const char* key) {
  return DeviceArray::Unwrap(object(args.Get(key), key))->data<float>();
}
float* device_floats_or_null(const Napi::Object& args, const char* key) {
  return args.Get(key).IsObject() ? device_floats(args, key) : nullptr;
}
cuda::DeviceBuffer<int32_t> device_ints(const Napi::Object& args, const char* key) {
  return cuda::DeviceBuffer<int32_t>(ints(args, key));
}

// {rewards [n], cuGroups [G + 1] on the host, scaleByStd, eps, advantages [n]}
void advantage_normalize(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    const Napi::Object args = object(info[0], "advantageNormalize");
    const auto groups = device_ints(args, "cuGroups");
    cuda::advantage_normalize(device_floats(args, "advantages"), device_floats(args, "rewards"), groups.data(),
                              static_cast<int64_t>(groups.size()) - 1, boolean(args, "scaleByStd"),
                              static_cast<float>(number(args, "eps")));
    cuda::synchronize();
  });
}

// {logits [T, V], ids [T] on the host, vocabSize, temperature, logprobs [T], entropy [T]}
void logprob_gather(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    const Napi::Object args = object(info[0], "logprobGather");
    const auto ids = device_ints(args, "ids");
    const int64_t V = integer(args, "vocabSize");
    const cuda::DeviceBuffer<float> lse(ids.size());
    cuda::logprob_gather({device_floats(args, "logits"), DType::f32}, V, ids.data(),
                         static_cast<float>(number(args, "temperature")), device_floats(args, "logprobs"), lse.data(),
                         device_floats(args, "entropy"), static_cast<int64_t>(ids.size()), V);
    cuda::synchronize();
  });
}

// {logprobs, oldLogprobs, refLogprobs?, samplerLogprobs?, importance?, entropy?, advantages, weights, dLogprobs, dEntropy [T],
// length, cuSeqlens? on the host, clipLow, ...} -> {loss, ...}: sums
Napi::Value policy_loss(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Napi::Object args = object(info[0], "policyLoss");
    PolicyLossInputs in{device_floats(args, "logprobs"), device_floats(args, "oldLogprobs"), device_floats(args, "advantages"),
                        device_floats(args, "weights")};
    in.ref = device_floats_or_null(args, "refLogprobs");
    in.entropy = device_floats_or_null(args, "entropy");
    in.sampler = device_floats_or_null(args, "samplerLogprobs");
    in.importance = device_floats_or_null(args, "importance");
    cuda::DeviceBuffer<int32_t> offsets;
    if (args.Get("cuSeqlens").IsTypedArray()) {
      offsets = device_ints(args, "cuSeqlens");
      in.cu_tokens = offsets.data();
      in.sequences = static_cast<int64_t>(offsets.size()) - 1;
    }
    PolicyLossSums sums;
    cuda::policy_loss(sums, device_floats(args, "dLogprobs"), device_floats(args, "dEntropy"), in, policy_loss_args(args),
                      integer(args, "length"));
    return policy_sums_object(info.Env(), sums);
  });
}

// -> {name, major, minor, processors, memoryBytes, freeBytes, driver, runtime}
Napi::Value device_info(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const cuda::DeviceInfo device = cuda::device_info();
    Napi::Object out = Napi::Object::New(info.Env());
    out.Set("name", device.name);
    out.Set("major", device.major);
    out.Set("minor", device.minor);
    out.Set("processors", device.processors);
    out.Set("memoryBytes", static_cast<double>(device.memory_bytes));
    out.Set("freeBytes", static_cast<double>(device.free_bytes));
    out.Set("driver", device.driver);
    out.Set("runtime", device.runtime);
    return out;
  });
}

// -> {file, version}; throws UNSUPPORTED where there is none.
Napi::Value cublas_lt(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const cuda::CublasLt library;
    Napi::Object out = Napi::Object::New(info.Env());
    out.Set("file", library.file());
    out.Set("version", static_cast<double>(library.version()));
    return out;
  });
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("DeviceArray", DeviceArray::define(env));
  exports.Set("advantageNormalize", Napi::Function::New<advantage_normalize>(env));
  exports.Set("logprobGather", Napi::Function::New<logprob_gather>(env));
  exports.Set("policyLoss", Napi::Function::New<policy_loss>(env));
  exports.Set("deviceInfo", Napi::Function::New<device_info>(env));
  exports.Set("cublasLt", Napi::Function::New<cublas_lt>(env));
  return exports;
}

}  // namespace

NODE_API_MODULE(zazen_cuda, init)

}  // namespace zazen::binding

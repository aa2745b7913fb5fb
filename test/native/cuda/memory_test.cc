// Device memory of the real runtime, on a runtime that fails: a kernel's fault comes out of the calls after it.
#include "native/cuda/device.h"
#include "native/cuda/fake/cuda_runtime.h"

// memory.cu's functions beside those of the emulator, in a namespace of their own.
#include "kernels/cuda/call.h"
namespace zazen::runtime {
using cuda::DeviceInfo, cuda::failure;
}
#define cuda runtime
#include "kernels/cuda/memory.cu"
#undef cuda

namespace zazen::test {
namespace {

// What a call fails with when the runtime ends it so.
template <class Body>
std::string failed(cudaError_t status, const std::string& code, const Body& body) {
  std::string message;
  fake::status = status;
  try {
    body();
  } catch (const Error& error) {
    CHECK(error.code() == code);
    message = error.what();
  }
  fake::status = cudaSuccess;
  return message;
}

TEST(cuda_memory_errors_name_the_last_launch) {
  cuda::last_call() = {"attention_forward", {{"T", 5}, {"D", 64}}};
  const std::string fault =
      ": an illegal memory access (cudaErrorIllegalAddress); queued last before it: "
      "[attention_forward of T 5, D 64]";
  char host[8] = {};
  const auto faulty = [](const auto& body) { return failed(cudaErrorIllegalAddress, "CUDA", body); };
  CHECK(faulty([] { runtime::synchronize(); }) == "[cuda] waiting for the device" + fault);
  CHECK(faulty([&] { runtime::download(host, host, 8); }) == "[cuda] copying 8 bytes from the device" + fault);
  CHECK(faulty([&] { runtime::upload(host, host, 8); }) == "[cuda] copying 8 bytes to the device" + fault);
  CHECK(faulty([&] { runtime::clear(host, 8); }) == "[cuda] clearing 8 bytes of the device" + fault);
  CHECK(failed(cudaErrorMemoryAllocation, "OUT_OF_MEMORY", [] {
          runtime::allocate(9);
        }).find("[cuda] allocating 9 bytes: out of memory") == 0);
  runtime::synchronize();
}

}  // namespace
}  // namespace zazen::test

// Errors of CUDA name the op and its shapes, those too that come from a later call than the launch.
#include "kernels/cuda/call.h"

#include <thread>

#include "kernels/cuda/named.h"
#include "native/cuda/device.h"

namespace zazen::test {
namespace {

using cuda::Call;

void gather(int64_t R) {
  constexpr int64_t V = 7;
  const Device<float> logits(random_floats(3 * V, 1)), logp(3), lse(3);
  const Device<int32_t> targets(Ints{0, 3, 6});
  cuda::logprob_gather({logits.data(), DType::f32}, V, targets.data(), 1.0f, logp.data(), lse.data(), nullptr, R, V);
  cuda::synchronize();
}

std::string late_failure() {
  return cuda::failure("[cuda] waiting for the device", "an illegal memory access", "cudaErrorIllegalAddress");
}

TEST(cuda_late_errors_name_the_last_launch_of_the_thread) {
  const std::string alone = "[cuda] waiting for the device: an illegal memory access (cudaErrorIllegalAddress)";
  const std::string named = alone + "; queued last before it: [logprob_gather of R 3, V 7]";
  gather(3);
  CHECK(late_failure() == named);
  gather(0);  // starts nothing
  CHECK(late_failure() == named);
  std::string of_another_thread;
  std::thread([&] { of_another_thread = late_failure(); }).join();
  CHECK(of_another_thread == alone);
}

TEST(cuda_shared_memory_that_a_device_lacks_is_named_with_the_call) {
  const Call call{"attention_forward", {{"T", 5}, {"D", 256}}};
  cuda::check_shared(call, 1000, 1000);
  std::string message;
  try {
    cuda::check_shared(call, 1001, 1000);
  } catch (const Error& error) {
    CHECK(error.code() == "UNSUPPORTED");
    message = error.what();
  }
  CHECK(message ==
        "[attention_forward of T 5, D 256] expected a GPU with 1001 bytes of shared memory a block, got one with 1000");
}

}  // namespace
}  // namespace zazen::test

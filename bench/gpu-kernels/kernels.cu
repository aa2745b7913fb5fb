// The CUDA kernels at the sizes of training a 7B model, each answer held against the CPU's. `npm run bench:gpu-kernels` builds
// and runs it with its peers; without a GPU it ends with status 1.
#include "attention.cuh"
#include "named.cuh"
#include "products.cuh"
#include "rows.cuh"

namespace zazen::bench {
namespace {

constexpr size_t kCopyBytes = size_t{2} << 30;

void run() {
  const cuda::DeviceInfo device = cuda::device_info();
  fact(text("{\"device\": {", device_json(device), "}}"));
  fact(text("{\"copy_gb_per_s\": ", copy_gigabytes_per_second(kCopyBytes), "}"));
  named_cases();
  row_cases();
  product_cases();
  attention_cases();
}

}  // namespace
}  // namespace zazen::bench

int main() { return zazen::bench::run_and_report(zazen::bench::run); }

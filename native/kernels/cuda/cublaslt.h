// cuBLASLt, opened at run time: the product needs neither its header nor the library to build. What a product is asked for is
// said in product.h; which algorithms may be used, for their bits, in exact_library.h.
#pragma once

#include <string>
#include <vector>

#include "kernels/cuda/cublaslt_abi.h"
#include "kernels/cuda/memory.h"
#include "kernels/cuda/product.h"

namespace zazen::cuda {

class CublasLt {
 public:
  // Of the folder that CUBLAS_LIBRARY_DIR names, or, where it is not set, as the loader finds it or in /usr/local/cuda. Throws
  // UNSUPPORTED with every path that was tried and what the loader said of it.
  CublasLt();
  CublasLt(const CublasLt&) = delete;
  CublasLt& operator=(const CublasLt&) = delete;
  ~CublasLt();

  const std::string& file() const { return file_; }
  // 10000 * major + 100 * minor + patch.
  size_t version() const { return function<lt::GetVersion>("cublasLtGetVersion")(); }

  // What the library proposes for a product, best first by its own guess, for addresses that are aligned as these are: only
  // algorithms that do not split the depth among blocks, or any. None: it has no algorithm for it. Needs a device; throws CUDA
  // when the library fails.
  enum class Depth { whole, any };
  std::vector<lt::Algorithm> proposals(const Product& product, Depth depth);
  // Queues a product on the default stream. False: the library does not take the algorithm for this product.
  bool multiply(const Product& product, const lt::Algorithm& algorithm);

 private:
  struct Described;

  template <class Function>
  Function* function(const char* name) const {
    return reinterpret_cast<Function*>(symbol(name));
  }
  void* symbol(const char* name) const;
  // Throws CUDA with the function that failed, the product's sizes and the library's message.
  void check(int status, const char* name, const Product& product) const;
  void* handle(const Product& product);

  std::string file_;
  void* library_ = nullptr;
  void* handle_ = nullptr;
  DeviceBuffer<std::byte> workspace_;
};

// The largest power of two, at most 256, that an address is a multiple of.
int64_t alignment_of(const void* address);

}  // namespace zazen::cuda

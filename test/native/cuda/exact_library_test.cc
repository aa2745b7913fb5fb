// cuBLASLt in linear layers, with a library whose algorithms sum in known orders: what has the own kernels' bits is taken, all
// else is refused and counted.
#include "kernels/cuda/exact_library.h"

#include <dlfcn.h>

#include <cstdlib>

#include "kernels/cuda/call.h"
#include "native/cuda/device.h"
#include "native/cuda/fake/cublaslt.h"

namespace zazen::test {
namespace {

using cuda::CublasLt;
using cuda::ExactLibrary;

constexpr const char* kFolder = "CUBLAS_LIBRARY_DIR";

// The fake library as the one of linear layers, as long as it lives.
class Attached {
 public:
  explicit Attached(const std::vector<fake::Order>& proposals, const std::string& device = "emulated") {
    setenv(kFolder, ZAZEN_FAKE_CUBLASLT, 1);
    auto library = std::make_unique<CublasLt>();
    fake_ = reinterpret_cast<fake::Settings*>(dlsym(dlopen(library->file().c_str(), RTLD_NOW), fake::kSettings))();
    *fake_ = {cuda::download, cuda::upload};
    for (const fake::Order order : proposals) fake_->proposals[fake_->proposal_count++] = order;
    cuda::set_exact_library(std::make_unique<ExactLibrary>(std::move(library), device));
  }
  ~Attached() {
    cuda::set_exact_library(nullptr);
    unsetenv(kFolder);
  }
  ExactLibrary& library() { return *cuda::exact_library(); }
  int computed(fake::Order order) const { return fake_->computed[order]; }

 private:
  fake::Library* fake_;
};

struct Shape {
  int64_t M = 66, N = 36, K = 80;
};

// y [M, N] of x [M, K] and w [N, K], whose rows lie apart; y holds something first.
template <class Y, class X>
Floats forward(bool accumulate, const Shape& s = {}) {
  const int64_t gap = sizeof(X) == sizeof(bf16) ? 8 : 0;
  const Device<X> x(typed<X>(random_floats(s.M * (s.K + gap), 1)));
  const Device<bf16> w(rounded(random_floats(s.N * s.K, 2)));
  const Device<Y> y(typed<Y>(random_floats(s.M * (s.N + 4), 3)));
  cuda::linear_forward(no_threads(), y.data(), s.N + 4, x.data(), s.K + gap, w.data(), s.M, s.N, s.K, accumulate);
  return plain(y.values());
}

template <class D>
Floats backward() {
  const Shape s;
  const Device<D> dy(typed<D>(random_floats(s.M * s.N, 1)));
  const Device<bf16> x(rounded(random_floats(s.M * s.K, 2)));
  const Device<float> dw(random_floats(s.N * s.K, 3));
  cuda::linear_backward_weight(no_threads(), dw.data(), dy.data(), s.N, x.data(), s.K, s.M, s.N, s.K);
  return dw.values();
}

TEST(cuda_library_that_is_missing_is_named_with_its_paths) {
  setenv(kFolder, "/no/such/folder", 1);
  std::string message;
  try {
    const CublasLt library;
  } catch (const Error& error) {
    CHECK(error.code() == "UNSUPPORTED");
    message = error.what();
  }
  unsetenv(kFolder);
  for (const char* name : {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so:"})
    CHECK(message.find(std::string("/no/such/folder/") + name) != std::string::npos);
  CHECK(message.find("cannot open shared object file") != std::string::npos);
}

TEST(cuda_library_with_the_same_bits_is_taken) {
  const Floats f32 = forward<float, bf16>(false), more = forward<float, bf16>(true), narrow = forward<bf16, bf16>(false);
  const Floats from_f32 = forward<float, float>(false), dw = backward<bf16>(), dw_of_f32 = backward<float>();
  Attached with({fake::split, fake::chain});
  CHECK_BITS((forward<float, bf16>(false)), f32);
  CHECK(with.computed(fake::split) == 1 && with.computed(fake::chain) == 2);  // trials, and the product
  CHECK_BITS((forward<float, bf16>(false)), f32);
  CHECK(with.computed(fake::split) == 1 && with.computed(fake::chain) == 3);
  CHECK_BITS((forward<float, bf16>(true)), more);
  CHECK_BITS((forward<bf16, bf16>(false)), narrow);
  CHECK_BITS((forward<float, float>(false)), from_f32);
  CHECK_BITS(backward<bf16>(), dw);
  CHECK_BITS(backward<float>(), dw_of_f32);
  CHECK(with.library().counts().agrees == 7 && with.library().counts().disagrees == 0);
}

TEST(cuda_library_with_other_bits_is_refused) {
  const Floats wanted = forward<float, bf16>(false), more = forward<float, bf16>(true), dw = backward<bf16>();
  Attached with({fake::refused, fake::start_last, fake::split});
  CHECK_BITS((forward<float, bf16>(true)), more);
  CHECK_BITS(backward<bf16>(), dw);
  CHECK(with.computed(fake::split) == 2 && with.computed(fake::start_last) == 2);
  CHECK(with.library().counts().disagrees == 2 && with.library().counts().agrees == 0);
  // From zero the start may come last: that is the same sum.
  CHECK_BITS((forward<float, bf16>(false)), wanted);
  CHECK(with.library().counts().agrees == 1);
}

// However deep a product is, a sum in two halves shows in the trial.
TEST(cuda_library_trial_tells_orders_apart) {
  Attached with({fake::split});
  for (const int64_t K : {32, 33, 48, 200, 1030}) forward<float, bf16>(false, {65, 8, K});
  CHECK(with.library().counts().disagrees == 5);
}

TEST(cuda_library_leaves_other_products_to_the_own_kernels) {
  const Shape skinny{64, 36, 80};
  const Floats wanted = forward<float, bf16>(false, skinny);
  Attached with({fake::chain});
  CHECK_BITS((forward<float, bf16>(false, skinny)), wanted);
  CHECK(with.computed(fake::chain) == 0);
  Attached without({});
  forward<float, bf16>(false);
  CHECK(without.library().counts().unsupported == 1);
}

TEST(cuda_library_that_fails_is_named_with_the_product_and_its_message) {
  std::string message;
  {
    Attached with({fake::broken});
    try {
      forward<float, bf16>(false);
    } catch (const Error& error) {
      CHECK(error.code() == "CUDA");
      message = error.what();
    }
  }
  CHECK(message ==
        "[cublasLtMatmul of rows 66, columns 36, depth 80]: the product fell over (status 13); queued last before it: "
        "[fill_start of rows 66, columns 36]");
}

TEST(cuda_library_product_is_what_later_errors_name) {
  Attached with({fake::chain});
  forward<float, bf16>(false);
  CHECK(cuda::last_call().describe() == "cublasLtMatmul of rows 66, columns 36, depth 80");
}

TEST(cuda_library_trial_without_room_leaves_the_own_kernels) {
  Attached with({fake::chain});
  const auto refused = [](const cuda::Product&) { harness::fail(__FILE__, __LINE__, "a trial was made"); };
  for (const int64_t ld : {int64_t{1} << 24, int64_t{1} << 40})  // beyond the device, and beyond what a trial may take
    CHECK(with.library().algorithm({66, 36, 80, true, false, nullptr, ld, nullptr, 80, TensorRef(nullptr, DType::f32), 36},
                                   refused) == nullptr);
  CHECK(with.library().counts().no_room == 2);
}

TEST(cuda_library_decisions_are_kept_as_text) {
  std::string stored;
  {
    Attached with({fake::split, fake::chain});
    forward<float, bf16>(false);
    stored = with.library().stored();
    CHECK(stored.find("cublasLt 130100; emulated") != std::string::npos && stored.find("agrees") != std::string::npos);
  }
  Attached with({fake::split, fake::chain});
  CHECK(with.library().restore(stored));
  forward<float, bf16>(false);
  CHECK(with.computed(fake::split) == 0 && with.computed(fake::chain) == 1);  // without a trial
  CHECK(with.library().stored() == stored);
  CHECK_THROWS_CODE(with.library().restore("something else"), "BAD_ARGUMENT");
  CHECK_THROWS_CODE(with.library().restore(stored + "1 2 3\n"), "BAD_ARGUMENT");
  Attached other({fake::split, fake::chain}, "another device");
  CHECK(!other.library().restore(stored));
}

}  // namespace
}  // namespace zazen::test

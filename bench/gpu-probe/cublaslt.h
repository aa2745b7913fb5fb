// The few calls of cuBLASLt that the probe makes, opened at run time, so that it builds where its header is not installed.
// Names and values are those of cublasLt.h of CUDA 12 and 13.
#pragma once

#include <dlfcn.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "core/check.h"
#include "core/dtype.h"

namespace zazen::probe {

class CublasLt {
 public:
  static constexpr size_t kWorkspace = size_t{32} << 20;
  static constexpr int kMostAlgorithms = 64;
  struct Algorithm {
    uint64_t algo[8];
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
  };

  // Throws UNSUPPORTED with the names tried.
  CublasLt() {
    std::string tried;
    const char* folder = std::getenv("CUBLAS_LIBRARY_DIR");
    for (const char* name : {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"}) {
      const std::string path = folder ? std::string(folder) + "/" + name : name;
      if ((library_ = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL))) break;
      tried += (tried.empty() ? "" : ", ") + path;
    }
    ZAZEN_CHECK(library_, "UNSUPPORTED", "[cublasLt] expected the library, got none at ", tried, "; set CUBLAS_LIBRARY_DIR");
    check(call<int (*)(void**)>("cublasLtCreate")(&handle_), "cublasLtCreate");
  }
  CublasLt(const CublasLt&) = delete;
  CublasLt& operator=(const CublasLt&) = delete;

  size_t version() const { return call<size_t (*)()>("cublasLtGetVersion")(); }

  // y [M, N] f32 = x [M, K] w [N, K]^T, row-major: column-major it is y^T = w x^T.
  struct Problem {
    void *operation, *w, *x, *y;
  };
  Problem problem(int64_t M, int64_t N, int64_t K) const {
    Problem p{};
    check(call<int (*)(void**, int, int)>("cublasLtMatmulDescCreate")(&p.operation, kCompute32F, kReal32F), "MatmulDescCreate");
    const int transposed = 1;
    check(call<int (*)(void*, int, const void*, size_t)>("cublasLtMatmulDescSetAttribute")(p.operation, kTransposeA,
                                                                                           &transposed, sizeof transposed),
          "MatmulDescSetAttribute");
    p.w = layout(kReal16BF, K, N, K);
    p.x = layout(kReal16BF, K, M, K);
    p.y = layout(kReal32F, N, M, N);
    return p;
  }
  std::vector<Algorithm> algorithms(const Problem& p) const {
    void* preference = nullptr;
    check(call<int (*)(void**)>("cublasLtMatmulPreferenceCreate")(&preference), "MatmulPreferenceCreate");
    check(call<int (*)(void*, int, const void*, size_t)>("cublasLtMatmulPreferenceSetAttribute")(
              preference, kMaxWorkspace, &kWorkspace, sizeof kWorkspace),
          "MatmulPreferenceSetAttribute");
    std::vector<Algorithm> found(kMostAlgorithms);
    int count = 0;
    using Heuristic = int (*)(void*, void*, void*, void*, void*, void*, void*, int, Algorithm*, int*);
    check(call<Heuristic>("cublasLtMatmulAlgoGetHeuristic")(handle_, p.operation, p.w, p.x, p.y, p.y, preference,
                                                            kMostAlgorithms, found.data(), &count),
          "MatmulAlgoGetHeuristic");
    call<int (*)(void*)>("cublasLtMatmulPreferenceDestroy")(preference);
    found.resize(static_cast<size_t>(count));
    return found;
  }
  void multiply(const Problem& p, const Algorithm& algorithm, float* y, const bf16* x, const bf16* w, void* workspace) const {
    const float one = 1.0f, zero = 0.0f;
    using Matmul = int (*)(void*, void*, const void*, const void*, void*, const void*, void*, const void*, const void*, void*,
                           void*, void*, const void*, void*, size_t, void*);
    check(call<Matmul>("cublasLtMatmul")(handle_, p.operation, &one, w, p.w, x, p.x, &zero, y, p.y, y, p.y, algorithm.algo,
                                         workspace, kWorkspace, nullptr),
          "Matmul");
  }
  void release(const Problem& p) const {
    call<int (*)(void*)>("cublasLtMatmulDescDestroy")(p.operation);
    for (void* layout : {p.w, p.x, p.y}) call<int (*)(void*)>("cublasLtMatrixLayoutDestroy")(layout);
  }

 private:
  static constexpr int kReal32F = 0, kReal16BF = 14, kCompute32F = 68, kTransposeA = 3, kMaxWorkspace = 1;

  template <class Function>
  Function call(const char* name) const {
    void* symbol = dlsym(library_, name);
    ZAZEN_CHECK(symbol, "UNSUPPORTED", "[cublasLt] expected a function ", name);
    return reinterpret_cast<Function>(symbol);
  }
  static void check(int status, const char* what) {
    ZAZEN_CHECK(status == 0, "CUDA", "[cublasLt] ", what, " failed with status ", status);
  }
  void* layout(int type, int64_t rows, int64_t columns, int64_t ld) const {
    void* made = nullptr;
    using Create = int (*)(void**, int, uint64_t, uint64_t, int64_t);
    check(call<Create>("cublasLtMatrixLayoutCreate")(&made, type, static_cast<uint64_t>(rows), static_cast<uint64_t>(columns),
                                                     ld),
          "MatrixLayoutCreate");
    return made;
  }

  void* library_ = nullptr;
  void* handle_ = nullptr;
};

}  // namespace zazen::probe

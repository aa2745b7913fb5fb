// What the product needs of cublasLt.h of CUDA 12 and 13, so that it builds where that header is not installed. Handles are
// opaque; enums are the ints that they are in C. test/native/cublaslt_header.cc holds it against the real header.
#pragma once

#include <cstddef>
#include <cstdint>

namespace zazen::cuda::lt {

// cublasStatus_t
constexpr int kSuccess = 0, kInvalidValue = 7, kNotSupported = 15;
// cudaDataType, cublasComputeType_t, cublasOperation_t
constexpr int kReal32F = 0, kReal16BF = 14, kCompute32F = 68, kPlain = 0, kTransposed = 1;
// cublasLtMatmulDescAttributes_t
constexpr int kTransposeA = 3, kTransposeB = 4;
// cublasLtMatmulPreferenceAttributes_t
constexpr int kMaxWorkspace = 1, kReductionSchemes = 3;
constexpr int kMinAlignmentA = 5, kMinAlignmentB = 6, kMinAlignmentC = 7, kMinAlignmentD = 8;
// cublasLtReductionScheme_t
constexpr uint32_t kNoReduction = 0;

// cublasLtMatmulAlgo_t: may be stored, and used again with the same version of the library.
struct Algorithm {
  uint64_t data[8];
};
// cublasLtMatmulHeuristicResult_t
struct Proposal {
  Algorithm algorithm;
  size_t workspace_bytes;
  int state;  // kSuccess: the rest holds
  float waves;
  int reserved[4];
};

// The functions are named as in C, without `cublasLt` in front.
using GetVersion = size_t();
using GetStatusString = const char*(int status);
using Create = int(void** handle);
using Destroy = int(void* handle);
using MatmulDescCreate = int(void** descriptor, int compute, int scale);
using MatmulDescDestroy = int(void* descriptor);
using MatmulDescSetAttribute = int(void* descriptor, int attribute, const void* value, size_t bytes);
using MatrixLayoutCreate = int(void** layout, int type, uint64_t rows, uint64_t columns, int64_t ld);
using MatrixLayoutDestroy = int(void* layout);
using MatmulPreferenceCreate = int(void** preference);
using MatmulPreferenceDestroy = int(void* preference);
using MatmulPreferenceSetAttribute = int(void* preference, int attribute, const void* value, size_t bytes);
using MatmulAlgoGetHeuristic = int(void* handle, void* descriptor, void* a, void* b, void* c, void* d, void* preference,
                                   int requested, Proposal* results, int* found);
using Matmul = int(void* handle, void* descriptor, const void* alpha, const void* a, void* layout_a, const void* b,
                   void* layout_b, const void* beta, const void* c, void* layout_c, void* d, void* layout_d,
                   const Algorithm* algorithm, void* workspace, size_t workspace_bytes, void* stream);

}  // namespace zazen::cuda::lt

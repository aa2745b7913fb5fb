// Holds kernels/cuda/cublaslt_abi.h against the real cublasLt.h, where that is found: it compiles, or a constant, a struct or a
// parameter is another one. Nothing of it runs.
#include <cublasLt.h>

#include <type_traits>

#include "kernels/cuda/cublaslt_abi.h"

namespace zazen::cuda::lt {
namespace {

static_assert(kSuccess == CUBLAS_STATUS_SUCCESS && kInvalidValue == CUBLAS_STATUS_INVALID_VALUE &&
              kNotSupported == CUBLAS_STATUS_NOT_SUPPORTED);
static_assert(kReal32F == CUDA_R_32F && kReal16BF == CUDA_R_16BF && kCompute32F == CUBLAS_COMPUTE_32F);
static_assert(kPlain == CUBLAS_OP_N && kTransposed == CUBLAS_OP_T);
static_assert(kTransposeA == CUBLASLT_MATMUL_DESC_TRANSA && kTransposeB == CUBLASLT_MATMUL_DESC_TRANSB);
static_assert(kMaxWorkspace == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES &&
              kReductionSchemes == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK);
static_assert(kMinAlignmentA == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES &&
              kMinAlignmentB == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES &&
              kMinAlignmentC == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES &&
              kMinAlignmentD == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES);
static_assert(kNoReduction == CUBLASLT_REDUCTION_SCHEME_NONE);

static_assert(sizeof(Algorithm) == sizeof(cublasLtMatmulAlgo_t) && alignof(Algorithm) == alignof(cublasLtMatmulAlgo_t));
static_assert(sizeof(Proposal) == sizeof(cublasLtMatmulHeuristicResult_t));
static_assert(offsetof(Proposal, algorithm) == offsetof(cublasLtMatmulHeuristicResult_t, algo));
static_assert(offsetof(Proposal, workspace_bytes) == offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize));
static_assert(offsetof(Proposal, state) == offsetof(cublasLtMatmulHeuristicResult_t, state));
static_assert(offsetof(Proposal, waves) == offsetof(cublasLtMatmulHeuristicResult_t, wavesCount));

// Both are pointers, or whole numbers of the same size: they are passed alike.
template <class Ours, class Theirs>
constexpr bool kAlike =
    std::is_pointer_v<Ours> ? std::is_pointer_v<Theirs>
                            : !std::is_pointer_v<Theirs> && !std::is_floating_point_v<Theirs> && sizeof(Ours) == sizeof(Theirs);
template <class Ours, class Theirs>
constexpr bool kSameCall = false;
template <class R, class... Ours, class S, class... Theirs>
requires(sizeof...(Ours) ==
         sizeof...(Theirs)) constexpr bool kSameCall<R(Ours...), S(Theirs...)> = kAlike<R, S> && (kAlike<Ours, Theirs> && ...);

static_assert(kSameCall<GetVersion, decltype(cublasLtGetVersion)>);
static_assert(kSameCall<GetStatusString, decltype(cublasLtGetStatusString)>);
static_assert(kSameCall<Create, decltype(cublasLtCreate)>);
static_assert(kSameCall<Destroy, decltype(cublasLtDestroy)>);
static_assert(kSameCall<MatmulDescCreate, decltype(cublasLtMatmulDescCreate)>);
static_assert(kSameCall<MatmulDescDestroy, decltype(cublasLtMatmulDescDestroy)>);
static_assert(kSameCall<MatmulDescSetAttribute, decltype(cublasLtMatmulDescSetAttribute)>);
static_assert(kSameCall<MatrixLayoutCreate, decltype(cublasLtMatrixLayoutCreate)>);
static_assert(kSameCall<MatrixLayoutDestroy, decltype(cublasLtMatrixLayoutDestroy)>);
static_assert(kSameCall<MatmulPreferenceCreate, decltype(cublasLtMatmulPreferenceCreate)>);
static_assert(kSameCall<MatmulPreferenceDestroy, decltype(cublasLtMatmulPreferenceDestroy)>);
static_assert(kSameCall<MatmulPreferenceSetAttribute, decltype(cublasLtMatmulPreferenceSetAttribute)>);
static_assert(kSameCall<MatmulAlgoGetHeuristic, decltype(cublasLtMatmulAlgoGetHeuristic)>);
static_assert(kSameCall<Matmul, decltype(cublasLtMatmul)>);

}  // namespace
}  // namespace zazen::cuda::lt

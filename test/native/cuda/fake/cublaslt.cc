// A cuBLASLt for tests without a GPU: the functions that the product calls, on the emulator's memory, with algorithms whose
// order of sums is known.
#include "native/cuda/fake/cublaslt.h"

#include <vector>

#include "core/dtype.h"
#include "kernels/cuda/cublaslt_abi.h"

namespace zazen::fake {
namespace {

using namespace cuda::lt;

constexpr int kStep = 16;  // depth of a matrix instruction
constexpr size_t kVersion = 130100;
constexpr int kExecutionFailed = 13;

Library library;

// Column-major.
struct Layout {
  int type;
  int64_t rows, columns, ld;
};
struct Descriptor {
  int transpose_a = kPlain, transpose_b = kPlain;
};

size_t bytes_of(int type) { return type == kReal16BF ? sizeof(bf16) : sizeof(float); }

float element(int type, const std::byte* data, int64_t i) {
  if (type == kReal16BF) return bf16_to_f32(reinterpret_cast<const bf16*>(data)[i].bits);
  return reinterpret_cast<const float*>(data)[i];
}

// A matrix [rows, columns], row-major, of a column-major one in device memory.
std::vector<float> fetch(const Layout& layout, const void* data, bool transposed) {
  std::vector<float> out(static_cast<size_t>(layout.rows * layout.columns));
  std::vector<std::byte> column(static_cast<size_t>(layout.rows) * bytes_of(layout.type));
  for (int64_t c = 0; c < layout.columns; ++c) {
    const auto* from = static_cast<const std::byte*>(data) + static_cast<size_t>(c * layout.ld) * bytes_of(layout.type);
    library.read(column.data(), from, column.size());
    for (int64_t r = 0; r < layout.rows; ++r)
      out[transposed ? c * layout.rows + r : r * layout.columns + c] = element(layout.type, column.data(), r);
  }
  return out;
}

void deliver(const Layout& layout, void* data, const std::vector<float>& rows_of) {
  for (int64_t c = 0; c < layout.columns; ++c) {
    std::vector<bf16> rounded;
    std::vector<float> column;
    for (int64_t r = 0; r < layout.rows; ++r) column.push_back(rows_of[static_cast<size_t>(r * layout.columns + c)]);
    for (const float value : column) rounded.push_back(f32_to_bf16(value));
    const void* from = layout.type == kReal16BF ? static_cast<const void*>(rounded.data()) : column.data();
    library.write(static_cast<std::byte*>(data) + static_cast<size_t>(c * layout.ld) * bytes_of(layout.type), from,
                  column.size() * bytes_of(layout.type));
  }
}

// a [K] of a row and b [K] of a column; the emulator's matrix instruction adds 16 products and the sum so far in double.
float chain_of(float start, const float* a, const float* b, int64_t b_distance, int64_t first, int64_t last) {
  float sum = start;
  for (int64_t k = first; k < last; k += kStep) {
    double step = static_cast<double>(sum);
    for (int64_t i = k; i < last && i < k + kStep; ++i)
      step += static_cast<double>(a[i]) * static_cast<double>(b[i * b_distance]);
    sum = static_cast<float>(step);
  }
  return sum;
}

float summed(Order order, float start, const float* a, const float* b, int64_t b_distance, int64_t K) {
  const int64_t middle = K / 2 / kStep * kStep;
  if (order == split) return chain_of(start, a, b, b_distance, 0, middle) + chain_of(0.0f, a, b, b_distance, middle, K);
  if (order == start_last) return chain_of(0.0f, a, b, b_distance, 0, K) + start;
  return chain_of(start, a, b, b_distance, 0, K);
}

template <class T>
int destroy(void* made) {
  delete static_cast<T*>(made);
  return kSuccess;
}

}  // namespace
}  // namespace zazen::fake

using namespace zazen::fake;

extern "C" {
Library* zazen_fake_cublaslt() { return &library; }

size_t cublasLtGetVersion() { return kVersion; }
const char* cublasLtGetStatusString(int status) { return status == kExecutionFailed ? "the product fell over" : "unknown"; }
int cublasLtCreate(void** handle) {
  *handle = &library;
  return kSuccess;
}
int cublasLtDestroy(void*) { return kSuccess; }

int cublasLtMatmulDescCreate(void** descriptor, int compute, int scale) {
  if (compute != kCompute32F || scale != kReal32F) return kInvalidValue;
  *descriptor = new Descriptor;
  return kSuccess;
}
int cublasLtMatmulDescDestroy(void* descriptor) { return destroy<Descriptor>(descriptor); }
int cublasLtMatmulDescSetAttribute(void* descriptor, int attribute, const void* value, size_t bytes) {
  if (bytes != sizeof(int) || (attribute != kTransposeA && attribute != kTransposeB)) return kInvalidValue;
  auto* of = static_cast<Descriptor*>(descriptor);
  (attribute == kTransposeA ? of->transpose_a : of->transpose_b) = *static_cast<const int*>(value);
  return kSuccess;
}

int cublasLtMatrixLayoutCreate(void** layout, int type, uint64_t rows, uint64_t columns, int64_t ld) {
  *layout = new Layout{type, static_cast<int64_t>(rows), static_cast<int64_t>(columns), ld};
  return kSuccess;
}
int cublasLtMatrixLayoutDestroy(void* layout) { return destroy<Layout>(layout); }

int cublasLtMatmulPreferenceCreate(void** preference) {
  *preference = new int;
  return kSuccess;
}
int cublasLtMatmulPreferenceDestroy(void* preference) { return destroy<int>(preference); }
int cublasLtMatmulPreferenceSetAttribute(void*, int attribute, const void*, size_t bytes) {
  return bytes == (attribute == kMaxWorkspace ? sizeof(uint64_t) : sizeof(uint32_t)) ? kSuccess : kInvalidValue;
}

int cublasLtMatmulAlgoGetHeuristic(void*, void*, void*, void*, void*, void*, void*, int requested, Proposal* results,
                                   int* found) {
  *found = library.proposal_count < requested ? library.proposal_count : requested;
  for (int i = 0; i < *found; ++i) results[i] = {{{static_cast<uint64_t>(library.proposals[i])}}, 0, kSuccess, 1.0f, {}};
  return *found == 0 ? kNotSupported : kSuccess;
}

int cublasLtMatmul(void*, void* descriptor, const void* alpha, const void* a, void* layout_a, const void* b, void* layout_b,
                   const void* beta, const void* c, void*, void* d, void* layout_d, const Algorithm* algorithm, void*, size_t,
                   void*) {
  const auto order = static_cast<Order>(algorithm->data[0]);
  if (order == refused) return kNotSupported;
  if (order == broken) return kExecutionFailed;
  const auto& of = *static_cast<const Descriptor*>(descriptor);
  const Layout& out = *static_cast<const Layout*>(layout_d);
  const auto& in = *static_cast<const Layout*>(layout_a);
  const bool accumulate = *static_cast<const float*>(beta) == 1.0f;
  if (*static_cast<const float*>(alpha) != 1.0f) return kInvalidValue;
  const std::vector<float> left = fetch(in, a, of.transpose_a == kTransposed),
                           right = fetch(*static_cast<const Layout*>(layout_b), b, of.transpose_b == kTransposed);
  const int64_t K = of.transpose_a == kTransposed ? in.rows : in.columns;
  std::vector<float> sums(static_cast<size_t>(out.rows * out.columns));
  if (accumulate) sums = fetch(out, c, false);
  for (int64_t m = 0; m < out.rows; ++m)
    for (int64_t n = 0; n < out.columns; ++n) {
      float& sum = sums[static_cast<size_t>(m * out.columns + n)];
      sum = summed(order, sum, left.data() + m * K, right.data() + n, out.columns, K);
    }
  deliver(out, d, sums);
  ++library.computed[order];
  return kSuccess;
}
}

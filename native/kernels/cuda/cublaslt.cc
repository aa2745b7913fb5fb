#include "kernels/cuda/cublaslt.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "core/check.h"
#include "kernels/cuda/call.h"

namespace zazen::cuda {
namespace {

constexpr size_t kWorkspaceBytes = size_t{32} << 20;  // what NVIDIA recommends for Hopper
constexpr int kMostProposals = 16;
constexpr uintptr_t kMostAlignment = 256;  // bytes; what the library assumes when it is told nothing
constexpr const char* kFolderVariable = "CUBLAS_LIBRARY_DIR";
constexpr const char* kNames[] = {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"};

// The folders to look in, each with its slash; the empty one is the loader's own search.
std::vector<std::string> folders() {
  const char* folder = std::getenv(kFolderVariable);
  if (folder && *folder) return {std::string(folder) + "/"};
  return {"", "/usr/local/cuda/lib64/", "/usr/local/cuda/lib/"};
}

Call call_of(const char* name, const Product& p) {
  return {name, {{"rows", p.rows}, {"columns", p.columns}, {"depth", p.depth}}};
}

int type_of(const TensorRef& out) { return out.type == DType::bf16 ? lt::kReal16BF : lt::kReal32F; }

}  // namespace

int64_t alignment_of(const void* address) {
  const auto at = reinterpret_cast<uintptr_t>(address) | kMostAlignment;
  return static_cast<int64_t>(at & (~at + 1));
}

CublasLt::CublasLt() {
  std::string tried;
  for (const std::string& folder : folders())
    for (const char* name : kNames) {
      file_ = folder + name;
      if ((library_ = dlopen(file_.c_str(), RTLD_NOW | RTLD_LOCAL))) return;
      const char* why = dlerror();
      tried += text("\n  ", file_, ": ", why ? why : "no reason given");
    }
  throw Error("UNSUPPORTED", text("[cublasLt] expected the library, got none at:", tried, "\nset ", kFolderVariable,
                                  " to the folder that has it"));
}

// The library stays open: what it registered with CUDA must outlive it.
CublasLt::~CublasLt() {
  if (handle_) function<lt::Destroy>("cublasLtDestroy")(handle_);
}

void* CublasLt::symbol(const char* name) const {
  void* found = dlsym(library_, name);
  ZAZEN_CHECK(found, "UNSUPPORTED", "[cublasLt] expected ", file_, " to have ", name, ", got a library without it");
  return found;
}

void CublasLt::check(int status, const char* name, const Product& product) const {
  if (status == lt::kSuccess) return;
  const char* message = function<lt::GetStatusString>("cublasLtGetStatusString")(status);
  const std::string number = text("status ", status);
  throw Error("CUDA", failure(text("[", call_of(name, product).describe(), "]"), message, number.c_str()));
}

void* CublasLt::handle(const Product& product) {
  if (!handle_) check(function<lt::Create>("cublasLtCreate")(&handle_), "cublasLtCreate", product);
  return handle_;
}

// A product in the library's terms. Its matrices are column-major, so that it computes the transposed output: out^T = right
// left^T, of which a is the right operand and b the left one.
struct CublasLt::Described {
  CublasLt& library;
  const Product& product;
  void *operation = nullptr, *a = nullptr, *b = nullptr, *d = nullptr;

  Described(CublasLt& of, const Product& p) : Described(p, of) {
    library.check(library.function<lt::MatmulDescCreate>("cublasLtMatmulDescCreate")(&operation, lt::kCompute32F, lt::kReal32F),
                  "cublasLtMatmulDescCreate", product);
    set(lt::kTransposeA, p.k_major ? lt::kTransposed : lt::kPlain);
    set(lt::kTransposeB, p.k_major ? lt::kPlain : lt::kTransposed);
    a = layout(lt::kReal16BF, p.k_major ? p.depth : p.columns, p.k_major ? p.columns : p.depth, p.ld_right);
    b = layout(lt::kReal16BF, p.k_major ? p.depth : p.rows, p.k_major ? p.rows : p.depth, p.ld_left);
    d = layout(type_of(p.out), p.columns, p.rows, p.ld_out);
  }
  Described(const Described&) = delete;
  Described& operator=(const Described&) = delete;
  ~Described() {
    for (void* made : {a, b, d})
      if (made) library.function<lt::MatrixLayoutDestroy>("cublasLtMatrixLayoutDestroy")(made);
    if (operation) library.function<lt::MatmulDescDestroy>("cublasLtMatmulDescDestroy")(operation);
  }

 private:
  // Complete, so that what was made is freed when the rest fails.
  Described(const Product& p, CublasLt& of) : library(of), product(p) {}
  void set(int attribute, int value) {
    library.check(library.function<lt::MatmulDescSetAttribute>("cublasLtMatmulDescSetAttribute")(operation, attribute, &value,
                                                                                                 sizeof value),
                  "cublasLtMatmulDescSetAttribute", product);
  }
  void* layout(int type, int64_t rows, int64_t columns, int64_t ld) {
    void* made = nullptr;
    library.check(library.function<lt::MatrixLayoutCreate>("cublasLtMatrixLayoutCreate")(
                      &made, type, static_cast<uint64_t>(rows), static_cast<uint64_t>(columns), ld),
                  "cublasLtMatrixLayoutCreate", product);
    return made;
  }
};

std::vector<lt::Algorithm> CublasLt::proposals(const Product& product, Depth depth) {
  const Described described(*this, product);
  void* made = nullptr;
  check(function<lt::MatmulPreferenceCreate>("cublasLtMatmulPreferenceCreate")(&made), "cublasLtMatmulPreferenceCreate",
        product);
  const auto destroy = function<lt::MatmulPreferenceDestroy>("cublasLtMatmulPreferenceDestroy");
  const std::unique_ptr<void, lt::MatmulPreferenceDestroy*> preference(made, destroy);
  const auto set = function<lt::MatmulPreferenceSetAttribute>("cublasLtMatmulPreferenceSetAttribute");
  const auto prefer = [&](int attribute, auto value) {
    check(set(preference.get(), attribute, &value, sizeof value), "cublasLtMatmulPreferenceSetAttribute", product);
  };
  prefer(lt::kMaxWorkspace, uint64_t{kWorkspaceBytes});
  if (depth == Depth::whole) prefer(lt::kReductionSchemes, lt::kNoReduction);
  prefer(lt::kMinAlignmentA, static_cast<uint32_t>(alignment_of(product.right)));
  prefer(lt::kMinAlignmentB, static_cast<uint32_t>(alignment_of(product.left)));
  for (const int attribute : {lt::kMinAlignmentC, lt::kMinAlignmentD})
    prefer(attribute, static_cast<uint32_t>(alignment_of(product.out.data)));
  std::vector<lt::Proposal> found(kMostProposals);
  int count = 0;
  const int status = function<lt::MatmulAlgoGetHeuristic>("cublasLtMatmulAlgoGetHeuristic")(
      handle(product), described.operation, described.a, described.b, described.d, described.d, preference.get(),
      kMostProposals, found.data(), &count);
  if (status != lt::kNotSupported) check(status, "cublasLtMatmulAlgoGetHeuristic", product);
  std::vector<lt::Algorithm> usable;
  for (int i = 0; status == lt::kSuccess && i < count; ++i)
    if (found[i].state == lt::kSuccess && found[i].workspace_bytes <= kWorkspaceBytes) usable.push_back(found[i].algorithm);
  return usable;
}

bool CublasLt::multiply(const Product& product, const lt::Algorithm& algorithm) {
  const Described described(*this, product);
  const float one = 1.0f, beta = product.accumulate ? 1.0f : 0.0f;
  workspace_.reserve(kWorkspaceBytes);
  const int status = function<lt::Matmul>("cublasLtMatmul")(
      handle(product), described.operation, &one, product.right, described.a, product.left, described.b, &beta,
      product.out.data, described.d, product.out.data, described.d, &algorithm, workspace_.data(), kWorkspaceBytes, nullptr);
  if (status == lt::kNotSupported || status == lt::kInvalidValue) return false;
  check(status, "cublasLtMatmul", product);
  last_call() = call_of("cublasLtMatmul", product);
  return true;
}

}  // namespace zazen::cuda

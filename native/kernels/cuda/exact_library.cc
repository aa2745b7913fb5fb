#include "kernels/cuda/exact_library.h"

#include <algorithm>
#include <sstream>

#include "core/check.h"
#include "kernels/cuda/trial.h"

namespace zazen::cuda {
namespace {

// Changes when the own kernels sum in another order: decisions for another one say nothing.
constexpr const char* kDefinition = "m16n8k16 in order of k";
constexpr const char* kMark = "zazen exact library";
constexpr const char* kWords[] = {"agrees", "disagrees", "unsupported", "no_room"};
constexpr int64_t kMostTrialBytes = int64_t{8} << 30;
constexpr uint32_t kLeftSeed = 1, kRightSeed = 2;

// Device memory that begins `alignment` bytes behind a block's start, and so has that alignment and no larger one.
class Block {
 public:
  Block(int64_t bytes, int64_t alignment) : memory_(static_cast<size_t>(bytes + alignment)), at_(memory_.data() + alignment) {}
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(at_);
  }

 private:
  DeviceBuffer<std::byte> memory_;
  std::byte* at_;
};

int64_t left_bytes(const Product& p) { return (p.k_major ? p.rows : p.depth) * p.ld_left * dtype_bytes(DType::bf16); }
int64_t right_bytes(const Product& p) { return (p.k_major ? p.columns : p.depth) * p.ld_right * dtype_bytes(DType::bf16); }
int64_t out_bytes(const Product& p) { return p.rows * p.ld_out * dtype_bytes(p.out.type); }

}  // namespace

ExactLibrary::ExactLibrary(std::unique_ptr<CublasLt> library, std::string device)
    : library_(std::move(library)), device_(std::move(device)) {}

ExactLibrary::Key ExactLibrary::key_of(const Product& p) {
  return {p.rows,
          p.columns,
          p.depth,
          p.ld_left,
          p.ld_right,
          p.ld_out,
          p.k_major,
          p.accumulate,
          p.out.type == DType::bf16,
          alignment_of(p.left),
          alignment_of(p.right),
          alignment_of(p.out.data)};
}

// Both compute the same product of cancelling data, from the same start; the first proposal without a different bit is taken.
ExactLibrary::Verdict ExactLibrary::trial(const Product& product, Own own) {
  const Block left(left_bytes(product), alignment_of(product.left)), right(right_bytes(product), alignment_of(product.right));
  const Block wanted(out_bytes(product), alignment_of(product.out.data)),
      got(out_bytes(product), alignment_of(product.out.data));
  Product p = product;
  p.left = left.as<bf16>();
  p.right = right.as<bf16>();
  fill_cancelling(left.as<bf16>(), p.rows, p.depth, p.ld_left, p.k_major, kLeftSeed, true);
  fill_cancelling(right.as<bf16>(), p.columns, p.depth, p.ld_right, p.k_major, kRightSeed, false);
  const auto into = [&](const Block& out) {
    p.out.data = out.as<void>();
    fill_start(p.out, p.rows, p.columns, p.ld_out);
  };
  into(wanted);
  own(p);
  const std::vector<lt::Algorithm> proposals = library_->proposals(p, CublasLt::Depth::whole);
  for (const lt::Algorithm& algorithm : proposals) {
    into(got);
    if (!library_->multiply(p, algorithm)) continue;
    const TensorView expected{wanted.as<void>(), p.out.type};
    if (count_differences(p.out, expected, p.rows, p.columns, p.ld_out) == 0) return {Decision::agrees, algorithm};
  }
  return {proposals.empty() ? Decision::unsupported : Decision::disagrees, {}};
}

ExactLibrary::Verdict ExactLibrary::trial_with_room(const Product& product, Own own) {
  const int64_t bytes = left_bytes(product) + right_bytes(product) + 2 * out_bytes(product);
  if (bytes > kMostTrialBytes) return {Decision::no_room, {}};
  try {
    return trial(product, own);
  } catch (const Error& error) {
    if (error.code() != "OUT_OF_MEMORY") throw;
    return {Decision::no_room, {}};
  }
}

const lt::Algorithm* ExactLibrary::algorithm(const Product& product, Own own) {
  const std::lock_guard lock(mutex_);
  const Key key = key_of(product);
  auto found = verdicts_.find(key);
  if (found == verdicts_.end()) found = verdicts_.emplace(key, trial_with_room(product, own)).first;
  int64_t* const counters[] = {&counts_.agrees, &counts_.disagrees, &counts_.unsupported, &counts_.no_room};
  ++*counters[static_cast<int>(found->second.decision)];
  return found->second.decision == Decision::agrees ? &found->second.algorithm : nullptr;
}

void ExactLibrary::multiply(const Product& product, const lt::Algorithm& algorithm) {
  const std::lock_guard lock(mutex_);
  ZAZEN_CHECK(library_->multiply(product, algorithm), "CUDA", "[cublasLt] expected the algorithm that was tried for ",
              product.rows, " x ", product.columns, " x ", product.depth, ", got a library that does not take it");
}

ExactLibrary::Counts ExactLibrary::counts() const {
  const std::lock_guard lock(mutex_);
  return counts_;
}

std::string ExactLibrary::header() const {
  return text(kMark, "; cublasLt ", library_->version(), "; ", device_, "; ", kDefinition);
}

std::string ExactLibrary::stored() const {
  const std::lock_guard lock(mutex_);
  std::ostringstream out;
  out << header() << '\n';
  for (const auto& [key, verdict] : verdicts_) {
    for (const int64_t part : key) out << part << ' ';
    out << kWords[static_cast<int>(verdict.decision)];
    for (const uint64_t word : verdict.algorithm.data) out << ' ' << word;
    out << '\n';
  }
  return out.str();
}

bool ExactLibrary::restore(const std::string& stored) {
  const std::lock_guard lock(mutex_);
  std::istringstream lines(stored);
  std::string line;
  std::getline(lines, line);
  ZAZEN_CHECK(line.rfind(kMark, 0) == 0, "BAD_ARGUMENT", "[cublasLt] expected stored decisions, which begin with \"", kMark,
              "\", got \"", line.substr(0, 80), "\"");
  if (line != header()) return false;
  std::map<Key, Verdict> read;
  while (std::getline(lines, line)) {
    std::istringstream parts(line);
    Key key;
    std::string word;
    Verdict verdict{};
    for (int64_t& part : key) parts >> part;
    parts >> word;
    for (uint64_t& each : verdict.algorithm.data) parts >> each;
    const auto* const known = std::find(std::begin(kWords), std::end(kWords), word);
    ZAZEN_CHECK(parts && known != std::end(kWords), "BAD_ARGUMENT", "[cublasLt] expected a stored decision, got \"",
                line.substr(0, 80), "\"");
    verdict.decision = static_cast<Decision>(known - std::begin(kWords));
    read[key] = verdict;
  }
  verdicts_.merge(read);
  return true;
}

namespace {

// Never destroyed: at the end of the process the driver may be gone before it.
std::unique_ptr<ExactLibrary>& slot() {
  static auto* const of_linear_layers = new std::unique_ptr<ExactLibrary>;
  return *of_linear_layers;
}

}  // namespace

ExactLibrary* exact_library() { return slot().get(); }
void set_exact_library(std::unique_ptr<ExactLibrary> library) { slot() = std::move(library); }

}  // namespace zazen::cuda

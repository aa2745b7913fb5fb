// Which products cuBLASLt may compute: those for which it has an algorithm with the very bits of the own kernels. That is found
// out by running both, once for each shape, type, alignment and version of the library, on data whose large terms cancel far
// apart in k, so that another order of sums gives other bits. Where none agrees the own kernel computes, and it is counted.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "kernels/cuda/cublaslt.h"

namespace zazen::cuda {

class ExactLibrary {
 public:
  // Computes a product by the own kernel, whose bits are the definition.
  using Own = void (*)(const Product&);
  enum class Decision { agrees, disagrees, unsupported, no_room };
  // Products by decision. unsupported: the library has no algorithm; no_room: the trial takes more memory than there is.
  struct Counts {
    int64_t agrees = 0, disagrees = 0, unsupported = 0, no_room = 0;
  };

  // `device` names the GPU for stored decisions, which hold for it and the library's version alone.
  ExactLibrary(std::unique_ptr<CublasLt> library, std::string device);

  // The algorithm that has the bits of the own kernel for products like this one, or null when there is none; counted. The
  // first question for a kind of product runs the trial.
  const lt::Algorithm* algorithm(const Product& product, Own own);
  void multiply(const Product& product, const lt::Algorithm& algorithm);

  Counts counts() const;
  const CublasLt& library() const { return *library_; }

  // The decisions so far as text, one a line behind a line that says what they hold for; and such a text taken in. False, and
  // nothing taken, when it was made by another library, on another device or for another definition; throws BAD_ARGUMENT when
  // it is no such text.
  std::string stored() const;
  bool restore(const std::string& stored);

 private:
  // What a decision depends on: sizes, distances of rows, direction, type and alignments.
  using Key = std::array<int64_t, 12>;
  struct Verdict {
    Decision decision;
    lt::Algorithm algorithm;
  };
  static Key key_of(const Product& product);
  std::string header() const;
  Verdict trial(const Product& product, Own own);
  Verdict trial_with_room(const Product& product, Own own);

  mutable std::mutex mutex_;
  std::unique_ptr<CublasLt> library_;
  std::string device_;
  std::map<Key, Verdict> verdicts_;
  Counts counts_;
};

// The one that linear layers ask. None until it is set: then they compute by the own kernels alone.
ExactLibrary* exact_library();
void set_exact_library(std::unique_ptr<ExactLibrary> library);

}  // namespace zazen::cuda

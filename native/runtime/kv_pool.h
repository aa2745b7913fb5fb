// Blocks of keys and values for sequences being generated, counted by reference so that the samples of a prompt share its
// blocks.
#pragma once

#include <vector>

#include "core/tensor.h"
#include "model/rows.h"
#include "model/spec.h"

namespace zazen {

class KvPool {
 public:
  // Empties the pool and makes room for `blocks` blocks in every layer.
  void plan(const ModelSpec& spec, int64_t blocks);
  static int64_t block_bytes(const ModelSpec& spec);

  int64_t free_blocks() const { return static_cast<int64_t>(free_.size()); }
  int64_t peak_blocks() const { return peak_; }  // most that were taken at once
  bool is_shared(int32_t block) const { return references_[static_cast<size_t>(block)] > 1; }
  int32_t take();
  void share(int32_t block) { ++references_[static_cast<size_t>(block)]; }
  void give(int32_t block);
  int32_t copy(int32_t block);  // takes a new block with the same content, in every layer
  KvBlocks blocks() { return {memory_.ref(), blocks_ * block_elements_}; }

 private:
  TensorBuffer memory_;  // [layers][blocks][block]
  std::vector<int32_t> free_, references_;
  int64_t layers_ = 0, blocks_ = 0, block_elements_ = 0, peak_ = 0;
};

}  // namespace zazen

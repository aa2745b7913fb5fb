#include "runtime/kv_pool.h"

#include <algorithm>
#include <cstring>

namespace zazen {

int64_t KvPool::block_bytes(const ModelSpec& spec) {
  return spec.layers * spec.kv().block_elements() * dtype_bytes(spec.dtype);
}

void KvPool::plan(const ModelSpec& spec, int64_t blocks) {
  layers_ = spec.layers;
  blocks_ = blocks;
  block_elements_ = spec.kv().block_elements();
  memory_.reserve(spec.dtype, layers_ * blocks_ * block_elements_);
  peak_ = 0;
  references_.assign(static_cast<size_t>(blocks), 0);
  free_.clear();
  for (int64_t b = blocks - 1; b >= 0; --b) free_.push_back(static_cast<int32_t>(b));
}

int32_t KvPool::take() {
  ZAZEN_CHECK(!free_.empty(), "KV_TOO_SMALL", "[generate] expected a free KV block, got none");
  const int32_t block = free_.back();
  free_.pop_back();
  references_[static_cast<size_t>(block)] = 1;
  peak_ = std::max(peak_, blocks_ - free_blocks());
  return block;
}

void KvPool::give(int32_t block) {
  if (--references_[static_cast<size_t>(block)] == 0) free_.push_back(block);
}

int32_t KvPool::copy(int32_t block) {
  const int32_t fresh = take();
  for (int64_t i = 0; i < layers_; ++i) {
    const TensorRef layer = blocks().layer(i);
    std::memcpy((layer + fresh * block_elements_).data, (layer + block * block_elements_).data,
                static_cast<size_t>(block_elements_ * dtype_bytes(layer.type)));
  }
  return fresh;
}

}  // namespace zazen

// The bytes that each token writes, and the tokens in the order of their bytes, which is a trie: a token shares the path of the
// one before it as far as their bytes agree.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace zazen {

class Vocabulary {
 public:
  Vocabulary() = default;
  // Token t writes bytes [offsets[t], offsets[t + 1]); one that writes nothing, as special tokens do, is in no trie.
  Vocabulary(std::vector<uint8_t> bytes, std::vector<int32_t> offsets);

  bool empty() const { return offsets_.size() < 2; }
  // Tokens that it does not know write nothing.
  std::string_view bytes(int32_t token) const;

  const std::vector<int32_t>& order() const { return order_; }    // tokens that write something, by their bytes
  const std::vector<int32_t>& shared() const { return shared_; }  // bytes that order()[i] begins with as order()[i - 1] does

 private:
  std::vector<uint8_t> bytes_;
  std::vector<int32_t> offsets_, order_, shared_;
};

}  // namespace zazen

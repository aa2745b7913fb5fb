#include "runtime/vocabulary.h"

#include <algorithm>

#include "core/check.h"

namespace zazen {

Vocabulary::Vocabulary(std::vector<uint8_t> bytes, std::vector<int32_t> offsets)
    : bytes_(std::move(bytes)), offsets_(std::move(offsets)) {
  const bool sound = !offsets_.empty() && offsets_.front() == 0 && std::is_sorted(offsets_.begin(), offsets_.end()) &&
                     static_cast<size_t>(offsets_.back()) == bytes_.size();
  ZAZEN_CHECK(sound, "BAD_ARGUMENT", "[native] vocabulary: expected ascending offsets from 0 to ", bytes_.size());
  for (int32_t t = 0; t + 1 < static_cast<int32_t>(offsets_.size()); ++t)
    if (!this->bytes(t).empty()) order_.push_back(t);
  std::sort(order_.begin(), order_.end(), [this](int32_t a, int32_t b) {
    const std::string_view x = this->bytes(a), y = this->bytes(b);
    return x != y ? x < y : a < b;
  });
  std::string_view before;
  for (const int32_t token : order_) {
    const std::string_view now = this->bytes(token);
    const auto ends = std::mismatch(before.begin(), before.end(), now.begin(), now.end());
    shared_.push_back(static_cast<int32_t>(ends.second - now.begin()));
    before = now;
  }
}

std::string_view Vocabulary::bytes(int32_t token) const {
  const auto t = static_cast<size_t>(token);
  if (t + 1 >= offsets_.size()) return {};
  return {reinterpret_cast<const char*>(bytes_.data()) + offsets_[t], static_cast<size_t>(offsets_[t + 1] - offsets_[t])};
}

}  // namespace zazen

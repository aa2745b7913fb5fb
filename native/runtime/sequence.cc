#include "runtime/sequence.h"

#include <algorithm>

namespace zazen {

int32_t StopTail::add(std::string_view bytes, const std::vector<std::string>& stops) {
  tail_.append(bytes);
  size_t longest = 0, first_end = std::string::npos;
  int32_t found = -1;
  for (size_t i = 0; i < stops.size(); ++i) {
    longest = std::max(longest, stops[i].size());
    const size_t at = tail_.find(stops[i]);
    if (at == std::string::npos) continue;
    const size_t end = at + stops[i].size();
    const bool better = end < first_end || (end == first_end && stops[i].size() > stops[static_cast<size_t>(found)].size());
    if (!better) continue;
    first_end = end;
    found = static_cast<int32_t>(i);
  }
  if (tail_.size() >= longest) tail_.erase(0, tail_.size() - longest + 1);
  return found;
}

}  // namespace zazen

// The one error type of the native code, and the check macro that throws it.
// `code` is stable and reaches JavaScript unchanged; the message says where, what was expected and what came.
#pragma once

#include <cstdint>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>

namespace zazen {

class Error : public std::runtime_error {
 public:
  Error(std::string code, const std::string& message) : std::runtime_error(message), code_(std::move(code)) {}
  const std::string& code() const { return code_; }

 private:
  std::string code_;
};

// Joins its arguments into one string: text("expected ", 3, ", got ", n).
template <class... Parts>
std::string text(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

}  // namespace zazen

// ZAZEN_CHECK(condition, "CODE", "where: expected ", x, ", got ", y)
#define ZAZEN_CHECK(condition, code, ...)                                     \
  do {                                                                        \
    if (!(condition)) throw ::zazen::Error(code, ::zazen::text(__VA_ARGS__)); \
  } while (0)

namespace zazen {

// Sizes that do not fit in 64 bits are TOO_LARGE.
inline int64_t checked_product(int64_t a, int64_t b) {
  int64_t product;
  ZAZEN_CHECK(!__builtin_mul_overflow(a, b, &product), "TOO_LARGE", "[memory] expected a size within 64 bits, got ", a, " x ",
              b);
  return product;
}
inline int64_t checked_sum(int64_t a, int64_t b) {
  int64_t sum;
  ZAZEN_CHECK(!__builtin_add_overflow(a, b, &sum), "TOO_LARGE", "[memory] expected a size within 64 bits, got ", a, " + ", b);
  return sum;
}

}  // namespace zazen

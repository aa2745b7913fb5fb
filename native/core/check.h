// The one error type of the native code, and the check macro that throws it.
// `code` is stable and reaches JavaScript unchanged; the message says where, what was expected and what came.
#pragma once

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

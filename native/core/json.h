// A strict pull reader for the JSON of a safetensors header: objects, arrays, strings and non-negative integers.
// It builds no tree: memory is what the caller keeps plus the keys of open objects. Floats, negative numbers, booleans and
// null are left out; a header has none.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace zazen {

class JsonReader {
 public:
  static constexpr int kMaxDepth = 8;

  // `where` begins every message, `code` is the code of every error. `text` must outlive the reader.
  JsonReader(std::string_view text, std::string where, std::string code);

  // Each call reads one value at the current place and throws when another kind of value stands there.
  // `member` gets each key and must read its value; a repeated key is an error.
  void object(const std::function<void(const std::string& key)>& member);
  // `item` must read one item.
  void array(const std::function<void()>& item);
  std::string string();  // valid UTF-8
  int64_t integer();     // 0 to 2^63 - 1
  // Only white space may be left.
  void end();

  // Throws at the current byte: "expected ..., got ... at byte N".
  [[noreturn]] void fail(const std::string& expected) const;

 private:
  char peek();
  void take(char expected, const char* what);
  // Reads `element (, element)* close` after the opening bracket, or `close` at once.
  void sequence(char close, const char* what, const std::function<void()>& element);
  void utf8(std::string& out);
  void escape(std::string& out);
  uint32_t hex4();

  std::string_view text_;
  std::string where_, code_;
  size_t at_ = 0;
  int depth_ = 0;
};

// `raw` as a JSON string with its quotes.
std::string json_quote(std::string_view raw);
// The same for messages: cut short when long.
std::string shown(std::string_view raw);

}  // namespace zazen

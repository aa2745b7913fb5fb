#include "core/json.h"

#include <limits>
#include <unordered_set>
#include <utility>

#include "core/check.h"

namespace zazen {
namespace {

constexpr size_t kShownBytes = 120;
constexpr char kHex[] = "0123456789abcdef";

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

void append_utf8(std::string& out, uint32_t point) {
  const auto put = [&](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (point < 0x80) return put(point);
  if (point < 0x800) {
    put(0xc0 | point >> 6);
  } else {
    if (point < 0x10000) {
      put(0xe0 | point >> 12);
    } else {
      put(0xf0 | point >> 18);
      put(0x80 | (point >> 12 & 0x3f));
    }
    put(0x80 | (point >> 6 & 0x3f));
  }
  put(0x80 | (point & 0x3f));
}

// Length of the UTF-8 sequence that starts with `lead` and bounds of its second byte (Unicode 15, table 3-7); 0: not a start.
struct Utf8Form {
  size_t length;
  unsigned char low, high;
};
Utf8Form utf8_form(unsigned char lead) {
  if (lead < 0x80) return {1, 0, 0};
  if (lead >= 0xc2 && lead <= 0xdf) return {2, 0x80, 0xbf};
  if (lead == 0xe0) return {3, 0xa0, 0xbf};
  if (lead == 0xed) return {3, 0x80, 0x9f};
  if (lead >= 0xe1 && lead <= 0xef) return {3, 0x80, 0xbf};
  if (lead == 0xf0) return {4, 0x90, 0xbf};
  if (lead >= 0xf1 && lead <= 0xf3) return {4, 0x80, 0xbf};
  if (lead == 0xf4) return {4, 0x80, 0x8f};
  return {0, 0, 0};
}

std::string printable(char c) {
  const auto byte = static_cast<unsigned char>(c);
  if (byte >= 0x20 && byte < 0x7f) return text("'", c, "'");
  return text("byte 0x", kHex[byte >> 4], kHex[byte & 15]);
}

}  // namespace

JsonReader::JsonReader(std::string_view text, std::string where, std::string code)
    : text_(text), where_(std::move(where)), code_(std::move(code)) {}

void JsonReader::fail(const std::string& expected) const {
  const std::string got = at_ < text_.size() ? printable(text_[at_]) : "the end";
  throw Error(code_, zazen::text("[", where_, "] JSON: expected ", expected, ", got ", got, " at byte ", at_,
                                 "; the file is damaged, copy or download it again"));
}

// The next byte that is not white space, 0 at the end.
char JsonReader::peek() {
  while (at_ < text_.size() && is_space(text_[at_])) ++at_;
  return at_ < text_.size() ? text_[at_] : '\0';
}

void JsonReader::take(char expected, const char* what) {
  if (peek() != expected) fail(what);
  ++at_;
}

void JsonReader::sequence(char close, const char* what, const std::function<void()>& element) {
  if (++depth_ > kMaxDepth) fail(zazen::text("at most ", kMaxDepth, " levels of nesting"));
  if (peek() != close) {
    element();
    while (peek() == ',') {
      ++at_;
      element();
    }
  }
  take(close, what);
  --depth_;
}

void JsonReader::object(const std::function<void(const std::string& key)>& member) {
  std::unordered_set<std::string> seen;
  take('{', "an object");
  sequence('}', "',' or '}'", [&] {
    std::string key = string();
    const auto [place, fresh] = seen.insert(std::move(key));
    if (!fresh) fail(zazen::text("keys that differ, got ", shown(*place), " twice"));
    take(':', "':'");
    member(*place);
  });
}

void JsonReader::array(const std::function<void()>& item) {
  take('[', "an array");
  sequence(']', "',' or ']'", item);
}

int64_t JsonReader::integer() {
  if (!is_digit(peek())) fail("a non-negative integer");
  const size_t start = at_;
  int64_t value = 0;
  for (; at_ < text_.size() && is_digit(text_[at_]); ++at_) {
    const int digit = text_[at_] - '0';
    if (value > (std::numeric_limits<int64_t>::max() - digit) / 10) fail("an integer of at most 2^63 - 1");
    value = value * 10 + digit;
  }
  if (text_[start] == '0' && at_ - start > 1) fail("an integer without leading zeros");
  if (at_ < text_.size() && (text_[at_] == '.' || (text_[at_] | 0x20) == 'e')) fail("an integer without fraction or exponent");
  return value;
}

std::string JsonReader::string() {
  take('"', "a string");
  std::string out;
  for (;;) {
    if (at_ == text_.size()) fail("the end of the string");
    const char c = text_[at_];
    if (c == '"') break;
    if (c == '\\')
      escape(out);
    else
      utf8(out);
  }
  ++at_;
  return out;
}

void JsonReader::utf8(std::string& out) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text_[at_ + i]); };
  if (byte(0) < 0x20) fail("no control byte in a string");
  const Utf8Form form = utf8_form(byte(0));
  bool valid = form.length > 0 && at_ + form.length <= text_.size();
  for (size_t i = 1; valid && i < form.length; ++i)
    valid = i == 1 ? byte(i) >= form.low && byte(i) <= form.high : (byte(i) & 0xc0) == 0x80;
  if (!valid) fail("UTF-8");
  out.append(text_.substr(at_, form.length));
  at_ += form.length;
}

void JsonReader::escape(std::string& out) {
  constexpr std::string_view kLetters = "\"\\/bfnrt", kBytes = "\"\\/\b\f\n\r\t";
  ++at_;
  if (at_ == text_.size()) fail("an escape");
  const size_t place = kLetters.find(text_[at_]);
  if (place != std::string_view::npos) {
    ++at_;
    out.push_back(kBytes[place]);
    return;
  }
  uint32_t point = hex4();
  if (point >= 0xd800 && point < 0xdc00) {
    if (text_.substr(at_, 1) != "\\") fail("the second half of a surrogate pair");
    ++at_;
    const uint32_t low = hex4();
    if (low < 0xdc00 || low > 0xdfff) fail("the second half of a surrogate pair");
    point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
  } else if (point >= 0xdc00 && point <= 0xdfff) {
    fail("the first half of a surrogate pair before the second");
  }
  append_utf8(out, point);
}

// Reads `uXXXX`.
uint32_t JsonReader::hex4() {
  if (text_.substr(at_, 1) != "u") fail("an escape of JSON");
  ++at_;
  uint32_t value = 0;
  for (int i = 0; i < 4; ++i, ++at_) {
    const char c = at_ < text_.size() ? text_[at_] : '\0';
    const char lower = static_cast<char>(c | 0x20);
    if (!is_digit(c) && (lower < 'a' || lower > 'f')) fail("four hexadecimal digits");
    value = value * 16 + static_cast<uint32_t>(is_digit(c) ? c - '0' : lower - 'a' + 10);
  }
  return value;
}

void JsonReader::end() {
  peek();
  if (at_ != text_.size()) fail("the end");
}

std::string shown(std::string_view raw) {
  if (raw.size() <= kShownBytes) return json_quote(raw);
  size_t cut = kShownBytes;
  while (cut > 0 && (static_cast<unsigned char>(raw[cut]) & 0xc0) == 0x80) --cut;
  return json_quote(raw.substr(0, cut)) + "...";
}

std::string json_quote(std::string_view raw) {
  std::string out = "\"";
  for (const char c : raw) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') out.push_back('\\');
    if (byte >= 0x20)
      out.push_back(c);
    else
      out += text("\\u00", kHex[byte >> 4], kHex[byte & 15]);
  }
  out.push_back('"');
  return out;
}

}  // namespace zazen

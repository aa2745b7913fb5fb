// The header's JSON: what is accepted, and for everything else an error with its byte.
#include "core/json.h"

#include <limits>
#include <vector>

#include "core/check.h"
#include "harness.h"

namespace {

using zazen::JsonReader;

JsonReader reader(const std::string& text) { return JsonReader(text, "test", "JSON"); }

std::string string_of(const std::string& text) {
  auto json = reader(text);
  const std::string value = json.string();
  json.end();
  return value;
}

int64_t integer_of(const std::string& text) {
  auto json = reader(text);
  const int64_t value = json.integer();
  json.end();
  return value;
}

// Nested arrays, as deep as they come.
void walk(JsonReader& json) {
  json.array([&] { walk(json); });
}
void walk_text(const std::string& text) {
  auto json = reader(text);
  walk(json);
  json.end();
}

std::string message_of(const std::string& text) {
  try {
    walk_text(text);
  } catch (const zazen::Error& error) {
    return error.what();
  }
  return "no error";
}

void keys_of(const std::string& text) {
  auto json = reader(text);
  json.object([&](const std::string&) { json.integer(); });
  json.end();
}

}  // namespace

TEST(json_integers) {
  CHECK(integer_of("0") == 0);
  CHECK(integer_of(" \t\r\n42 ") == 42);
  CHECK(integer_of("9223372036854775807") == std::numeric_limits<int64_t>::max());
  for (const char* bad : {"", "-1", "-0", "+1", "01", "00", "1.0", "1e3", "1E3", "9223372036854775808", "99999999999999999999",
                          "x", "null", "true", "\"1\"", "1 2", "0x10"})
    CHECK_THROWS_CODE(integer_of(bad), "JSON");
}

TEST(json_strings) {
  CHECK(string_of(R"("a\"\\\/\b\f\n\r\t")") == "a\"\\/\b\f\n\r\t");
  CHECK(string_of(R"("\u0041\u00e9\u20AC\ud83d\ude00")") == "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
  CHECK(string_of("\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"") == "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
  CHECK(string_of(R"("\u0000")") == std::string(1, '\0'));
  for (const char* bad :
       {"\"", "\"a", "a\"", "\"\\", "\"\\\"", "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"", "\"\\ud800\"", "\"\\ud800x\"",
        "\"\\ud800\\n\"", "\"\\ud800\\u0041\"", "\"\\udc00\"", "\"\n\"", "\"\x01\"", "'a'", "1"})
    CHECK_THROWS_CODE(string_of(bad), "JSON");
}

TEST(json_rejects_bytes_that_are_not_utf8) {
  for (const char* bad :
       {"\x80", "\xc0\x80", "\xc1\xbf", "\xc3", "\xe0\x80\x80", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xe2\x82", "\xf0\x80\x80\x80",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xc3(", "\xe2(\x80", "\xe2\x82("})
    CHECK_THROWS_CODE(string_of("\"" + std::string(bad) + "\""), "JSON");
}

TEST(json_objects) {
  keys_of("{}");
  keys_of(R"( { "a" : 1 , "b" : 2 } )");
  for (const char* bad : {"", "{", "}", "{]", R"({"a"})", R"({"a":})", R"({"a":1,})", R"({,"a":1})", R"({"a":1 "b":2})",
                          R"({a:1})", R"({"a":1}})", R"({"a":1,"a":2})", R"({"a":1,"\u0061":2})", "[]"})
    CHECK_THROWS_CODE(keys_of(bad), "JSON");
}

TEST(json_depth_is_limited) {
  walk_text("[[[[[[[[]]]]]]]]");
  walk_text("[[],[[]],[]]");
  CHECK_THROWS_CODE(walk_text("[[[[[[[[[]]]]]]]]]"), "JSON");
  CHECK_THROWS_CODE(walk_text(std::string(1'000'000, '[')), "JSON");
}

TEST(json_errors_name_the_byte) {
  CHECK(message_of("[[],x]") ==
        "[test] JSON: expected an array, got 'x' at byte 4; the file is damaged, copy or download it again");
  CHECK(message_of("[[]").find("expected ',' or ']', got the end at byte 3") != std::string::npos);
  CHECK(message_of("[\x01]").find("got byte 0x01 at byte 1") != std::string::npos);
  CHECK(message_of("[]]").find("expected the end, got ']' at byte 2") != std::string::npos);
}

TEST(json_quotes) {
  CHECK(zazen::json_quote("a\"\\\n\xc3\xa9") == "\"a\\\"\\\\\\u000a\xc3\xa9\"");
  CHECK(zazen::shown("abc") == "\"abc\"");
  std::string accents;
  for (int i = 0; i < 100; ++i) accents += "\xc3\xa9";
  const std::string cut = zazen::shown("x" + accents);  // the limit falls inside a letter
  CHECK(cut.size() < 130 && cut.ends_with("\xc3\xa9\"..."));
  CHECK(string_of(cut.substr(0, cut.size() - 3)).starts_with("x\xc3\xa9"));
}

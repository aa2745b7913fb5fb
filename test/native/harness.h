// A small test harness: TEST registers a function, CHECK* record failures with their place and go on.
// The program takes an optional filter (part of a test's name) and ends with `N passed, N failed`.
#pragma once

#include <cmath>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>
#include <vector>

namespace harness {

struct Test {
  const char* name;
  void (*body)();
};

inline std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}
inline int& failures() {
  static int count = 0;
  return count;
}
struct Register {
  Register(const char* name, void (*body)()) { tests().push_back({name, body}); }
};

// Prints the first few failures of a test; all are counted.
inline void fail(const char* file, int line, const std::string& what) {
  constexpr int kPrinted = 5;
  if (++failures() <= kPrinted) std::printf("  %s:%d: %s\n", file, line, what.c_str());
}

inline std::string number(double x) {
  char text[40];
  std::snprintf(text, sizeof text, "%.9g", x);
  return text;
}

// |got - want| <= tolerance * max(1, |want|); NaN never passes.
inline void near(const char* file, int line, double got, double want, double tolerance, const std::string& what) {
  const double bound = tolerance * std::fmax(1.0, std::fabs(want));
  if (!(std::fabs(got - want) <= bound)) fail(file, line, what + ": expected " + number(want) + ", got " + number(got));
}

template <class A, class B>
void all_near(const char* file, int line, const A& got, const B& want, double tolerance, const char* what) {
  if (got.size() != want.size()) return fail(file, line, std::string(what) + ": sizes differ");
  for (size_t i = 0; i < got.size(); ++i)
    near(file, line, got[i], want[i], tolerance, std::string(what) + "[" + std::to_string(i) + "]");
}

template <class T>
void same_bits(const char* file, int line, const std::vector<T>& got, const std::vector<T>& want, const char* what) {
  if (got.size() != want.size()) return fail(file, line, std::string(what) + ": sizes differ");
  for (size_t i = 0; i < got.size(); ++i)
    if (std::memcmp(&got[i], &want[i], sizeof(T)) != 0)
      return fail(file, line,
                  std::string(what) + "[" + std::to_string(i) + "]: expected the bits of " +
                      number(static_cast<double>(want[i])) + ", got " + number(static_cast<double>(got[i])));
}

// Runs one test; an exception that leaves it is a failure.
inline bool run(const Test& test) {
  failures() = 0;
  try {
    test.body();
  } catch (const std::exception& error) {
    fail("exception", 0, error.what());
  }
  std::printf("%s %s\n", failures() == 0 ? "ok  " : "FAIL", test.name);
  std::fflush(stdout);
  return failures() == 0;
}

inline int run_all(const char* filter) {
  int passed = 0, failed = 0;
  for (const Test& test : tests()) {
    if (filter && !std::strstr(test.name, filter)) continue;
    ++(run(test) ? passed : failed);
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 && passed > 0 ? 0 : 1;
}

}  // namespace harness

#define TEST(name)                                                    \
  static void test_##name();                                          \
  static const harness::Register register_##name(#name, test_##name); \
  static void test_##name()
#define CHECK(condition)                                                         \
  do {                                                                           \
    if (!(condition)) harness::fail(__FILE__, __LINE__, "expected " #condition); \
  } while (0)
#define CHECK_NEAR(got, want, tolerance) harness::near(__FILE__, __LINE__, got, want, tolerance, #got)
#define CHECK_ALL_NEAR(got, want, tolerance) harness::all_near(__FILE__, __LINE__, got, want, tolerance, #got)
#define CHECK_BITS(got, want) harness::same_bits(__FILE__, __LINE__, got, want, #got)
// The expression must throw zazen::Error with this code.
#define CHECK_THROWS_CODE(expression, expected_code)                                                  \
  do {                                                                                                \
    std::string thrown = "nothing";                                                                   \
    try {                                                                                             \
      (void)(expression);                                                                             \
    } catch (const zazen::Error& error) {                                                             \
      thrown = error.code();                                                                          \
    }                                                                                                 \
    if (thrown != (expected_code)) harness::fail(__FILE__, __LINE__, #expression " threw " + thrown); \
  } while (0)

// Safetensors files and atomic writes: what is read is what was written, conversions are exact, and every damage is a typed
// error.
#include "core/safetensors.h"

#include <sys/stat.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <numeric>

#include "core/check.h"
#include "harness.h"
#include "safetensors_files.h"

namespace {

using namespace zazen;
using namespace zazen::test;
using Shape = std::vector<int64_t>;

void open_bytes(const std::string& bytes) {
  const Folder folder;
  write_bytes(folder.file("x"), bytes);
  const SafetensorsFile file(folder.file("x"));
}
void open_file(const std::string& header, const std::string& data) { open_bytes(file_of(header, data)); }

// The message of the error that opening such a file gives.
std::string message_of(const std::string& header, const std::string& data) {
  try {
    open_file(header, data);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TensorSource source(const std::string& name, const Shape& shape, const std::vector<float>& values) {
  return {name, shape, [values](int64_t first, int64_t count, float* out) { std::copy_n(values.data() + first, count, out); }};
}

std::vector<float> ramp(int64_t count) {
  std::vector<float> out(static_cast<size_t>(count));
  std::iota(out.begin(), out.end(), 0.25f);
  return out;
}

// One tensor "x" of `count` elements of `dtype` holding `data`.
std::vector<float> read_as(const std::string& dtype, size_t count, const std::string& data) {
  const Folder folder;
  const std::string offsets = text("[0,", data.size(), "]");
  write_bytes(folder.file("x"), file_of("{" + entry("x", dtype, text("[", count, "]"), offsets) + "}", data));
  return read_all(SafetensorsFile(folder.file("x")), "x");
}

const std::string kFour(4, '\0'), kEight(8, '\0');

}  // namespace

TEST(safetensors_round_trip) {
  const Folder folder;
  const std::string path = folder.file("model.safetensors");
  const auto matrix = ramp(7 * 13), vector = ramp(5), scalar = ramp(1);
  write_safetensors(path, {source("w \"q\" \n", {7, 13}, matrix), source("a", {5}, vector), source("s", {}, scalar),
                           source("empty", {0, 3}, {})});
  const SafetensorsFile file(path);
  CHECK(file.tensors().size() == 4);
  CHECK(file.metadata().at("format") == "pt");
  CHECK(file.require("w \"q\" \n", {7, 13}).dtype == DType::f32);
  CHECK(read_all(file, "w \"q\" \n") == matrix);
  CHECK(read_all(file, "a") == vector);
  CHECK(read_all(file, "s") == scalar);
  CHECK(read_all(file, "empty").empty());
  float part[3];
  file.read_f32(*file.find("a"), 2, 3, part);
  CHECK(part[0] == 2.25f && part[2] == 4.25f);
  CHECK(folder.entries() == 1);
}

TEST(safetensors_bytes_do_not_depend_on_order) {
  const Folder folder;
  const auto a = source("a", {2, 3}, ramp(6)), b = source("b", {4}, ramp(4));
  write_safetensors(folder.file("1"), {a, b});
  write_safetensors(folder.file("2"), {b, a});
  const std::string bytes = read_bytes(folder.file("1"));
  CHECK(bytes == read_bytes(folder.file("2")));
  uint64_t length;
  std::memcpy(&length, bytes.data(), sizeof(length));
  CHECK(length % 8 == 0);
  CHECK(bytes.substr(8, 31) == R"({"__metadata__":{"format":"pt"})");
}

TEST(safetensors_writes_whole_rows_in_chunks) {
  const Folder folder;
  const int64_t rows = 333, columns = 1001;  // more than one chunk, an odd last one
  const auto values = ramp(rows * columns);
  int64_t calls = 0, next = 0;
  const auto read = [&](int64_t first, int64_t count, float* out) {
    CHECK(first == next && first % columns == 0 && count % columns == 0);
    std::copy_n(values.data() + first, count, out);
    next = first + count;
    ++calls;
  };
  write_safetensors(folder.file("x"), {{"x", {rows, columns}, read}});
  CHECK(calls > 1 && next == rows * columns);
  CHECK(read_all(SafetensorsFile(folder.file("x")), "x") == values);
}

TEST(safetensors_f16_is_exact) {
  std::vector<uint16_t> all(65536);
  std::iota(all.begin(), all.end(), uint16_t{0});
  const auto got = read_as("F16", all.size(), raw(all));
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const int exponent = static_cast<int>(bits >> 10 & 31), fraction = static_cast<int>(bits & 1023);
    double expected = exponent ? std::ldexp(1024 + fraction, exponent - 25) : std::ldexp(fraction, -24);
    if (exponent == 31) expected = fraction ? NAN : INFINITY;
    const float value = got[bits];
    CHECK(std::signbit(value) == (bits >= 32768));
    CHECK(std::isnan(expected) ? std::isnan(value) : std::abs(static_cast<double>(value)) == expected);
  }
}

TEST(safetensors_bf16_is_exact) {
  const std::vector<uint16_t> bits = {0x0000, 0x8000, 0x3f80, 0xc049, 0x7f80, 0x0001, 0x7f7f};
  const std::vector<uint32_t> expected = {0x0, 0x80000000, 0x3f800000, 0xc0490000, 0x7f800000, 0x00010000, 0x7f7f0000};
  const auto got = read_as("BF16", bits.size(), raw(bits));
  for (size_t i = 0; i < bits.size(); ++i) CHECK(std::bit_cast<uint32_t>(got[i]) == expected[i]);
}

TEST(safetensors_f64_rounds_to_nearest_even) {
  const std::vector<double> values = {1.0, 1.0 + 0x1p-24, 1.0 + 3 * 0x1p-24, 1.0 + 0x1p-24 + 0x1p-50, -0.1, 1e300, 0x1p-149};
  const std::vector<float> expected = {1.0f, 1.0f, 1.0f + 0x1p-22f, 1.0f + 0x1p-23f, -0.1f, INFINITY, 0x1p-149f};
  CHECK(read_as("F64", values.size(), raw(values)) == expected);
}

TEST(safetensors_converts_across_chunks) {
  std::vector<uint16_t> bits(1'200'001);  // three chunks of 2^19 elements
  for (size_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<uint16_t>(i % 0x7c00);
  const auto got = read_as("F16", bits.size(), raw(bits));
  bool same = true;
  for (size_t i = 0; i < bits.size(); ++i) same = same && got[i] == f16_to_f32(bits[i]);
  CHECK(same);
}

TEST(safetensors_missing_and_odd_files) {
  const Folder folder;
  CHECK_THROWS_CODE(SafetensorsFile(folder.file("none")), "FILE_MISSING");
  CHECK_THROWS_CODE(SafetensorsFile(folder.file("")), "FILE_IO");  // a folder
  CHECK(mkfifo(folder.file("pipe").c_str(), 0600) == 0);
  CHECK_THROWS_CODE(SafetensorsFile(folder.file("pipe")), "FILE_IO");  // and does not wait for a writer
  CHECK_THROWS_CODE(open_bytes(""), "FILE_TRUNCATED");
  CHECK_THROWS_CODE(open_bytes("1234567"), "FILE_TRUNCATED");
}

TEST(safetensors_header_length) {
  CHECK_THROWS_CODE(open_bytes(with_length(3, "{}")), "SAFETENSORS_HEADER");
  CHECK_THROWS_CODE(open_bytes(with_length(100'000'001, "{}")), "SAFETENSORS_HEADER");
  CHECK_THROWS_CODE(open_bytes(with_length(UINT64_MAX, "{}")), "SAFETENSORS_HEADER");
  CHECK_THROWS_CODE(open_bytes(with_length(0, "")), "SAFETENSORS_HEADER");
  CHECK_THROWS_CODE(open_file(" {}", ""), "SAFETENSORS_HEADER");
  CHECK_THROWS_CODE(open_file("version https://git-lfs", ""), "SAFETENSORS_HEADER");
  open_file("{}  ", "");  // padding is allowed
  CHECK(message_of("{} x", "").find("expected the end, got 'x' at byte 3") != std::string::npos);
}

TEST(safetensors_header_fields) {
  const auto rejects = [](const std::string& header) { CHECK_THROWS_CODE(open_file(header, kFour), "SAFETENSORS_HEADER"); };
  open_file("{" + entry("x", "F32", "[1]", "[0,4]") + "}", kFour);
  rejects(R"({"x":{"dtype":"F32","shape":[1]}})");
  rejects(R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"extra":1}})");
  rejects(R"({"x":{"dtype":"F32","shape":[1],"shape":[1],"data_offsets":[0,4]}})");
  rejects("{" + entry("x", "F32", "[1]", "[0]") + "}");
  rejects("{" + entry("x", "F32", "[1]", "[0,4,8]") + "}");
  rejects("{" + entry("x", "F32", "[-1]", "[0,4]") + "}");
  rejects("{" + entry("x", "F32", "[1.0]", "[0,4]") + "}");
  rejects("{" + entry("x", "F32", "1", "[0,4]") + "}");
  rejects("{" + entry("x", "F32", "[1" + std::string(64, ',') + "]", "[0,4]") + "}");
  rejects(R"({"x":[]})");
  rejects(R"({"__metadata__":{"format":1}})");
  rejects(R"({"__metadata__":["format"]})");
  rejects("{" + entry("x", "F32", "[1]", "[0,4]"));
  std::string rank = "1";
  for (int i = 0; i < 32; ++i) rank += ",1";
  rejects("{" + entry("x", "F32", "[" + rank + "]", "[0,4]") + "}");
}

TEST(safetensors_duplicates) {
  const std::string x = entry("x", "F32", "[1]", "[0,4]"), other = entry("x", "F32", "[1]", "[4,8]");
  CHECK_THROWS_CODE(open_file("{" + x + "," + other + "}", kEight), "SAFETENSORS_HEADER");
  CHECK_THROWS_CODE(open_file(R"({"__metadata__":{},"__metadata__":{}})", ""), "SAFETENSORS_HEADER");
}

TEST(safetensors_unknown_dtype) {
  const std::string header = "{" + entry("layer.w", "F8_E4M3", "[4]", "[0,4]") + "}";
  CHECK_THROWS_CODE(open_file(header, kFour), "SAFETENSORS_DTYPE");
  CHECK(message_of(header, kFour).find("tensor \"layer.w\": expected dtype F64") != std::string::npos);
  CHECK(message_of(header, kFour).find("got \"F8_E4M3\"") != std::string::npos);
  CHECK_THROWS_CODE(read_as("I32", 1, kFour), "SAFETENSORS_DTYPE");  // known, but no float
}

TEST(safetensors_offsets) {
  const auto rejects = [](const std::string& entries, const std::string& data) {
    CHECK_THROWS_CODE(open_file("{" + entries + "}", data), "SAFETENSORS_OFFSETS");
  };
  const std::string x = entry("x", "F32", "[1]", "[0,4]");
  rejects(entry("x", "F32", "[1]", "[4,0]"), kFour);
  CHECK(message_of("{" + entry("x", "F32", "[1]", "[4,0]") + "}", kFour).find("in order, got [4, 0]") != std::string::npos);
  rejects(entry("x", "F32", "[2]", "[0,4]"), kFour);
  rejects(entry("x", "F32", "[1]", "[0,99]"), kFour);
  rejects(entry("x", "F32", "[0]", "[0,4]"), kFour);
  rejects(entry("x", "F32", "[]", "[0,8]"), kEight);
  rejects(entry("x", "F32", "[1]", "[9223372036854775803,9223372036854775807]"), kFour);
  rejects(x + "," + entry("y", "F32", "[1]", "[0,4]"), kFour);   // overlap
  rejects(x + "," + entry("y", "F32", "[1]", "[2,6]"), kEight);  // part of one
  rejects(entry("x", "F32", "[2]", "[0,8]") + "," + entry("y", "F32", "[1]", "[4,8]"), kEight);
  rejects(x + "," + entry("y", "F32", "[1]", "[8,12]"), kEight + kFour);  // gap
  rejects(entry("x", "F32", "[1]", "[4,8]"), kEight);                     // gap at the start
  rejects(x, kEight);                                                     // bytes after the last
  rejects("", kFour);
  CHECK(message_of("{" + x + "," + entry("y", "F32", "[1]", "[2,6]") + "}", kEight).find("(an overlap)") != std::string::npos);
}

TEST(safetensors_shapes_that_overflow) {
  const auto rejects = [](const std::string& shape) {
    CHECK_THROWS_CODE(open_file("{" + entry("x", "F32", shape, "[0,4]") + "}", kFour), "SAFETENSORS_OFFSETS");
  };
  rejects("[9223372036854775807,2]");
  rejects("[4294967296,4294967296]");  // 2^64: wraps to 0
  rejects("[4611686018427387905]");    // its bytes wrap to 4
  rejects("[3037000500,3037000500,1]");
  CHECK_THROWS_CODE(open_file("{" + entry("x", "F32", "[9223372036854775808]", "[0,4]") + "}", kFour), "SAFETENSORS_HEADER");
}

TEST(safetensors_truncated_data) {
  const std::string header = "{" + entry("x", "F32", "[1]", "[0,4]") + "," + entry("y", "F32", "[2]", "[4,12]") + "}";
  open_file(header, kEight + kFour);
  CHECK_THROWS_CODE(open_file(header, kEight), "FILE_TRUNCATED");
  CHECK_THROWS_CODE(open_file(header, ""), "FILE_TRUNCATED");
  CHECK(message_of(header, kEight).find("tensor \"y\": expected 12 bytes of tensors, as the header states, got 8") !=
        std::string::npos);
}

TEST(safetensors_that_shrinks_while_open) {
  const Folder folder;
  write_safetensors(folder.file("x"), {source("x", {8}, ramp(8))});
  const SafetensorsFile file(folder.file("x"));
  std::filesystem::resize_file(folder.file("x"), std::filesystem::file_size(folder.file("x")) - 1);
  CHECK_THROWS_CODE(read_all(file, "x"), "FILE_TRUNCATED");
}

TEST(safetensors_require) {
  const Folder folder;
  write_safetensors(folder.file("x"), {source("w", {2, 3}, ramp(6))});
  const SafetensorsFile file(folder.file("x"));
  CHECK_THROWS_CODE(file.require("v", Shape({2, 3})), "TENSOR_MISSING");
  CHECK_THROWS_CODE(file.require("w", Shape({3, 2})), "TENSOR_SHAPE");
  CHECK_THROWS_CODE(file.require("w", Shape({6})), "TENSOR_SHAPE");
  CHECK(file.find("v") == nullptr);
  float out[6];
  CHECK_THROWS_CODE(file.read_f32(*file.find("w"), 1, 6, out), "BAD_ARGUMENT");
  CHECK_THROWS_CODE(file.read_f32(*file.find("w"), -1, 1, out), "BAD_ARGUMENT");
  CHECK_THROWS_CODE(file.read_f32(*file.find("w"), 1, std::numeric_limits<int64_t>::max(), out), "BAD_ARGUMENT");
  try {
    file.require("w", {3, 2});
  } catch (const Error& error) {
    CHECK(std::string(error.what()).find("tensor \"w\": expected shape [3,2], got [2,3]") != std::string::npos);
  }
}

TEST(safetensors_write_rejects_bad_names_and_shapes) {
  const Folder folder;
  const std::string path = folder.file("x");
  CHECK_THROWS_CODE(write_safetensors(path, {source("a", {1}, ramp(1)), source("a", {1}, ramp(1))}), "BAD_ARGUMENT");
  CHECK_THROWS_CODE(write_safetensors(path, {source("__metadata__", {1}, ramp(1))}), "BAD_ARGUMENT");
  CHECK_THROWS_CODE(write_safetensors(path, {source("a", {1, -1}, {})}), "BAD_ARGUMENT");
  CHECK_THROWS_CODE(write_safetensors(folder.file("none/x"), {source("a", {1}, ramp(1))}), "FILE_MISSING");
  CHECK(folder.entries() == 0);
}

TEST(safetensors_failed_write_keeps_the_old_file) {
  const Folder folder;
  const std::string path = folder.file("x");
  write_safetensors(path, {source("a", {4}, ramp(4))});
  const std::string before = read_bytes(path);
  const TensorSource failing{"b", {4}, [](int64_t, int64_t, float*) { throw Error("TEST", "stop"); }};
  CHECK_THROWS_CODE(write_safetensors(path, {source("a", {4}, ramp(4)), failing}), "TEST");
  CHECK(read_bytes(path) == before);
  CHECK(folder.entries() == 1);
  write_safetensors(path, {source("b", {1}, ramp(1))});
  CHECK(SafetensorsFile(path).tensors().size() == 1);
}

#include "fuzz.h"

#include <algorithm>
#include <cstdio>

#include "harness.h"

namespace zazen::test {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint64_t kDefaultSeed = 2026;

const std::vector<std::string> kNumbers = {"0",
                                           "1",
                                           "2",
                                           "3",
                                           "12",
                                           "18",
                                           "24",
                                           "25",
                                           "4294967296",
                                           "2147483648",
                                           "9223372036854775807",
                                           "9223372036854775808",
                                           "4611686018427387904",
                                           "-1",
                                           "1e9",
                                           "01",
                                           "1.5",
                                           "null",
                                           "\"1\""};
const std::vector<std::string> kDTypes = {"F64", "F32", "F16",  "BF16",    "I64", "I32", "I16",
                                          "I8",  "U8",  "BOOL", "F8_E4M3", "f32", ""};
const std::vector<std::string> kNames = {"",         "__metadata__", "\\u0000", "\\ud800", "a\\\"b",
                                         "\xc3\xa9", "\xff",         "dtype",   "../x"};
const std::vector<std::string> kTokens = {
    "-1",      "[]",   "{}",  "[[[[[[[[[[",  "\"x\"",        ",",     "}",        "]",    ":",   "\\ud800",
    "\\u0000", "BF16", "F64", "BOOL",        "__metadata__", "shape", "\xff\xfe", "null", "1e9", "data_offsets",
    "[0,4]",   "\"",   "\n",  "\xef\xbb\xbf"};

// Puts another number over the first one at or after `at`: the file stays JSON, its offsets and shapes go wrong.
void replace_number(std::string& bytes, size_t at, Stream& random) {
  const size_t first = bytes.find_first_of("0123456789", at);
  if (first == std::string::npos) return;
  const size_t last = std::min(bytes.size(), bytes.find_first_not_of("0123456789", first));
  bytes.replace(first, last - first, random.pick(kNumbers));
}

std::string spelled(const HeaderEntry& e) {
  return "\"" + e.name + R"(":{"dtype":")" + e.dtype + R"(","shape":)" + e.shape + R"(,"data_offsets":)" + e.offsets + "}";
}

std::string spelled(const Header& header) {
  std::string out = "{" + header.metadata;
  for (const HeaderEntry& entry : header.entries) out += (out.size() > 1 ? "," : "") + spelled(entry);
  return out + "}";
}

void mutate_entry(Header& header, Stream& random) {
  std::vector<HeaderEntry>& all = header.entries;
  const size_t at = random.below(all.size());
  const HeaderEntry other = random.pick(all);
  HeaderEntry& entry = all[at];
  switch (random.below(11)) {
    case 0:
      all.erase(all.begin() + static_cast<std::ptrdiff_t>(at));
      break;
    case 1:
      all.push_back(other);
      break;
    case 2:
      entry.name = random.pick(kNames);
      break;
    case 3:
      std::swap(entry.name, all[random.below(all.size())].name);
      break;
    case 4:
      entry.dtype = random.pick(kDTypes);
      break;
    case 5:
      entry.shape = other.shape;
      break;
    case 6:
      entry.offsets = other.offsets;
      break;
    case 7:
      replace_number(entry.shape, random.below(entry.shape.size()), random);
      break;
    case 8:
      replace_number(entry.offsets, random.below(entry.offsets.size()), random);
      break;
    case 9:
      entry.shape = std::string(random.below(40), '[') + entry.shape;
      break;
    default:
      entry.name += std::string(random.below(3000), 'x');
  }
}

// First and last byte of a tensor's data.
std::pair<size_t, size_t> range_of(const HeaderEntry& entry) {
  size_t begin = 0, end = 0;
  ZAZEN_CHECK(std::sscanf(entry.offsets.c_str(), "[%zu,%zu]", &begin, &end) == 2, "TEST", "offsets of a seed");
  return {begin, end};
}

// Takes out one tensor with its data, or adds one that there was not: the file stays good.
void change_tensors(Header& header, std::string& data, Stream& random) {
  std::vector<HeaderEntry>& all = header.entries;
  const size_t at = random.below(all.size());
  const auto [begin, end] = range_of(all[at]);
  if (random.below(2) == 0) {
    all.push_back(
        {all[at].name + "x", all[at].dtype, all[at].shape, text("[", data.size(), ",", data.size() + end - begin, "]")});
    data += data.substr(begin, end - begin);
    return;
  }
  data.erase(begin, end - begin);
  all.erase(all.begin() + static_cast<std::ptrdiff_t>(at));
  for (HeaderEntry& other : all) {
    const auto [first, last] = range_of(other);
    if (first >= end) other.offsets = text("[", first - (end - begin), ",", last - (end - begin), "]");
  }
}

uint64_t seed_of_run() {
  const char* stated = std::getenv("ZAZEN_FUZZ_SEED");
  return stated ? std::strtoull(stated, nullptr, 10) : kDefaultSeed;
}

void report(const char* name, int inputs, double seconds, const std::map<std::string, int>& seen) {
  std::printf("fuzz %s: %d inputs in %.1f s:", name, inputs, seconds);
  for (const auto& [code, count] : seen) std::printf(" %s %d", code.empty() ? "accepted" : code.c_str(), count);
  std::printf("\n");
}

}  // namespace

Header header_of(const SafetensorsFile& file) {
  Header header;
  for (const auto& [key, value] : file.metadata())
    header.metadata += (header.metadata.empty() ? "\"__metadata__\":{" : ",") + ("\"" + key + "\":\"" + value + "\"");
  if (!header.metadata.empty()) header.metadata += "}";
  for (const TensorInfo& tensor : file.tensors())
    header.entries.push_back({tensor.name, std::string(dtype_name(tensor.dtype)), shape_text(tensor.shape),
                              text("[", tensor.begin, ",", tensor.end, "]")});
  return header;
}

void damage_bytes(std::string& bytes, Stream& random) {
  if (bytes.empty()) return;
  const size_t at = random.below(bytes.size()), left = bytes.size() - at;
  switch (random.below(8)) {
    case 0:
      bytes[at] = static_cast<char>(random.next());
      break;
    case 1:
      bytes[at] = static_cast<char>(bytes[at] ^ 1 << random.below(8));
      break;
    case 2:
      bytes.erase(at, 1 + random.below(std::min<size_t>(left, 32)));
      break;
    case 3:
      bytes.resize(at);
      break;
    case 4:
      bytes.insert(at, bytes.substr(random.below(bytes.size()), random.below(64)));
      break;
    case 5:
      bytes.insert(at, random.pick(kTokens));
      break;
    default:
      replace_number(bytes, at, random);
  }
}

std::string mutate_file(const Header& header, const std::string& data, Stream& random) {
  Header changed = header;
  std::string bytes = data;
  const size_t kind = random.below(9);
  for (size_t edits = 1 + random.below(3); kind < 4 && edits > 0 && !changed.entries.empty(); --edits)
    mutate_entry(changed, random);
  if (kind == 4) change_tensors(changed, bytes, random);
  if (kind == 5) changed.metadata.clear();
  std::string text = spelled(changed);
  if (kind == 6) damage_bytes(text, random);
  if (kind >= 7) damage_bytes(bytes, random);
  if (random.below(4) == 0) text.resize((text.size() + 7) / 8 * 8, ' ');
  std::string file = file_of(text, bytes);
  if (random.below(16) == 0) damage_bytes(file, random);
  return file;
}

std::map<std::string, int> run_fuzz(const char* name, int quick, int full,
                                    const std::function<std::string(Stream& random)>& outcome) {
  const char *size = std::getenv("ZAZEN_FUZZ"), *only = std::getenv("ZAZEN_FUZZ_INPUT");
  const int inputs = size && std::string_view(size) == "full" ? full : quick;
  const int first = only ? std::atoi(only) : 0, end = only ? first + 1 : inputs;
  const uint64_t seed = seed_of_run();
  const auto start = Clock::now();
  std::map<std::string, int> seen;
  for (int input = first; input < end; ++input) {
    Stream random(seed, static_cast<uint32_t>(input));
    try {
      ++seen[outcome(random)];
    } catch (const std::exception& error) {
      harness::fail(name, input, text("seed ", seed, ", input ", input, ": ", error.what()));
    }
  }
  report(name, end - first, std::chrono::duration<double>(Clock::now() - start).count(), seen);
  return seen;
}

const char* scratch() {
  constexpr char kMemory[] = "/dev/shm";
  return std::filesystem::is_directory(kMemory) ? kMemory : "/tmp";
}

}  // namespace zazen::test

// Damages a good safetensors file thousands of times: it is accepted and readable, or a zazen::Error says why not.
#include <algorithm>
#include <map>

#include "core/check.h"
#include "core/rng.h"
#include "core/safetensors.h"
#include "harness.h"
#include "safetensors_files.h"

namespace {

using namespace zazen;
using namespace zazen::test;

// Random numbers of the fuzz: a stream of Philox words, the same on every machine.
class Stream {
 public:
  uint32_t next() { return philox(2026, {count_++, 0, 0, 0})[0]; }
  size_t below(size_t limit) { return next() % limit; }

 private:
  uint32_t count_ = 0;
};

// Puts another number over the first one at or after `at`: the file stays JSON, its offsets and shapes go wrong.
void mutate_number(std::string& bytes, size_t at, Stream& random) {
  static const std::vector<std::string> kNumbers = {"0",  "1",  "3",          "12",         "18",
                                                    "24", "25", "2147483648", "4294967296", "9223372036854775807"};
  const size_t first = bytes.find_first_of("0123456789", at);
  if (first == std::string::npos) return;
  const size_t last = bytes.find_first_not_of("0123456789", first);
  bytes.replace(first, last - first, kNumbers[random.below(kNumbers.size())]);
}

// One damage: a number changed, a byte changed, a piece cut, doubled or moved, a token of the format put in another place.
void mutate(std::string& bytes, Stream& random) {
  static const std::vector<std::string> kTokens = {
      "-1",      "[]",   "{}",  "[[[[[[[[[[", "\"x\"",        ",",     "}",        "]",    ":",   "\\ud800",
      "\\u0000", "BF16", "F64", "BOOL",       "__metadata__", "shape", "\xff\xfe", "null", "1e9", "data_offsets",
      "[0,4]",   "\""};
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
      bytes.insert(at, kTokens[random.below(kTokens.size())]);
      break;
    default:
      mutate_number(bytes, at, random);
  }
}

// The code of the error that opening it gives, empty when it is accepted; then all of it must be readable.
std::string outcome(const std::string& path) {
  try {
    const SafetensorsFile file(path);
    for (const TensorInfo& tensor : file.tensors())
      if (dtype_is_float(tensor.dtype)) read_all(file, tensor.name);
    return "";
  } catch (const Error& error) {
    return error.code();
  }
}

}  // namespace

TEST(safetensors_mutations_only_throw_typed_errors) {
  const Folder folder;
  const std::string header = R"({"__metadata__":{"format":"pt","a\u00e9":"\n"},)" + entry("a", "F32", "[3,1]", "[0,12]") + "," +
                             entry("b", "F16", "[2]", "[12,16]") + "," + entry("c", "BF16", "[]", "[16,18]") + "," +
                             entry("d", "F64", "[0,7]", "[18,18]") + "," + entry("e", "I8", "[6]", "[18,24]") + "}";
  const std::string good = file_of(header, std::string(24, '\1'));
  write_bytes(folder.file("x"), good);
  CHECK(outcome(folder.file("x")).empty());
  Stream random;
  std::map<std::string, int> seen;
  for (int i = 0; i < 6000; ++i) {
    std::string bytes = good;
    for (size_t damages = 1 + random.below(2); damages > 0 && !bytes.empty(); --damages) mutate(bytes, random);
    // Three in four get a length that fits again, so that the damage reaches the parser.
    if (i % 4 != 0 && bytes.size() > 32) bytes.replace(0, 8, raw<uint64_t>({bytes.size() - 32}));
    write_bytes(folder.file("x"), bytes);
    ++seen[outcome(folder.file("x"))];
  }
  // The mutations reach every check.
  for (const char* code : {"", "FILE_TRUNCATED", "SAFETENSORS_HEADER", "SAFETENSORS_DTYPE", "SAFETENSORS_OFFSETS"}) {
    CHECK(seen[code] > 20);
  }
  CHECK(seen.size() == 5);
}

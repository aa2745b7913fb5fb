// Damages good safetensors files thousands of times: each is accepted, and then written and read again it holds the same, or a
// zazen::Error says why not.
#include <bit>

#include "core/check.h"
#include "fuzz.h"
#include "harness.h"

namespace {

using namespace zazen;
using namespace zazen::test;

constexpr size_t kLongestMessage = 4096;  // bytes

const std::string kData(24, '\1');
const std::string kHeader = R"({"__metadata__":{"format":"pt","a\u00e9":"\n"},)" + entry("a", "F32", "[3,1]", "[0,12]") + "," +
                            entry("b", "F16", "[2]", "[12,16]") + "," + entry("c", "BF16", "[]", "[16,18]") + "," +
                            entry("d", "F64", "[0,7]", "[18,18]") + "," + entry("e", "I8", "[6]", "[18,24]") + "}";

// Float tensors of a file, as what to write: BF16 ones as they are, others in F32.
std::vector<TensorSource> sources(const SafetensorsFile& file) {
  std::vector<TensorSource> all;
  for (const TensorInfo& tensor : file.tensors())
    if (dtype_is_float(tensor.dtype))
      all.push_back({tensor.name, tensor.shape,
                     [&file, &tensor](int64_t first, int64_t count, float* out) { file.read_f32(tensor, first, count, out); },
                     tensor.dtype == DType::bf16 ? DType::bf16 : DType::f32});
  return all;
}

bool same_numbers(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (std::bit_cast<uint32_t>(a[i]) != std::bit_cast<uint32_t>(b[i]) && !(a[i] != a[i] && b[i] != b[i])) return false;
  return true;
}

void require(bool holds, const char* what) {
  if (!holds) throw std::logic_error(what);
}

// What is written of an accepted file reads back the same, and is the same byte for byte when it is written once more.
void round_trip(const SafetensorsFile& file, const Folder& folder) {
  const auto write = [&](const SafetensorsFile& from, const std::string& name) {
    auto metadata = from.metadata();
    metadata.erase("format");
    write_safetensors(folder.file(name), sources(from), metadata);
  };
  write(file, "once");
  const SafetensorsFile once(folder.file("once"));
  auto metadata = file.metadata();
  metadata["format"] = "pt";
  require(once.metadata() == metadata, "metadata that are written otherwise");
  for (const TensorInfo& tensor : once.tensors()) {
    const TensorInfo* original = file.find(tensor.name);
    require(original && original->shape == tensor.shape, "a tensor that is written with another shape");
    require(same_numbers(read_all(once, tensor.name), read_all(file, tensor.name)),
            "a tensor that is written with other numbers");
  }
  write(once, "twice");
  require(read_bytes(folder.file("once")) == read_bytes(folder.file("twice")), "two files of the same tensors that differ");
}

// The code of the error that opening it gives, empty when it is accepted.
std::string outcome(const Folder& folder, const std::string& bytes) {
  write_bytes(folder.file("x"), bytes);
  try {
    const SafetensorsFile file(folder.file("x"));
    round_trip(file, folder);
    return "";
  } catch (const Error& error) {
    const std::string message = error.what();
    require(message.starts_with("[") && message.find("expected ") != std::string::npos, "a message without the house's form");
    require(message.find("; ") != std::string::npos, "a message without what to do");
    require(message.size() <= kLongestMessage, "a message that is too long");
    return error.code();
  }
}

Header seed_header() {
  return {R"("__metadata__":{"format":"pt","a\u00e9":"\n"})",
          {{"a", "F32", "[3,1]", "[0,12]"},
           {"b", "F16", "[2]", "[12,16]"},
           {"c", "BF16", "[]", "[16,18]"},
           {"d", "F64", "[0,7]", "[18,18]"},
           {"e", "I8", "[6]", "[18,24]"}}};
}

}  // namespace

TEST(fuzz_safetensors_accepts_or_throws_a_typed_error) {
  const Folder folder(scratch());
  CHECK(outcome(folder, file_of(kHeader, kData)).empty());
  const auto seen = run_fuzz("native safetensors", 3000, 30000,
                             [&](Stream& random) { return outcome(folder, mutate_file(seed_header(), kData, random)); });
  // The mutations reach every code of a file's content.
  for (const char* code : {"", "FILE_TRUNCATED", "SAFETENSORS_HEADER", "SAFETENSORS_DTYPE", "SAFETENSORS_OFFSETS"})
    CHECK(std::getenv("ZAZEN_FUZZ_INPUT") || seen.count(code));
}

// Damage anywhere in the bytes, its length made to fit again in three of four, so that it reaches the parser.
TEST(fuzz_safetensors_with_damaged_bytes) {
  const Folder folder(scratch());
  const auto seen = run_fuzz("native safetensors bytes", 3000, 15000, [&](Stream& random) {
    std::string bytes = file_of(kHeader, kData);
    for (size_t damages = 1 + random.below(2); damages > 0; --damages) damage_bytes(bytes, random);
    if (random.below(4) > 0 && bytes.size() > 32) bytes.replace(0, 8, raw<uint64_t>({bytes.size() - 32}));
    return outcome(folder, bytes);
  });
  for (const char* code : {"", "FILE_TRUNCATED", "SAFETENSORS_HEADER", "SAFETENSORS_DTYPE", "SAFETENSORS_OFFSETS"})
    CHECK(std::getenv("ZAZEN_FUZZ_INPUT") || seen.count(code));
}

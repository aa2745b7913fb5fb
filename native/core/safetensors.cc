#include "core/safetensors.h"

#include <algorithm>
#include <optional>
#include <tuple>
#include <utility>

#include "core/check.h"
#include "core/json.h"

namespace zazen {
namespace {

constexpr int64_t kPrefix = 8;            // bytes of the header's length, little-endian
constexpr int64_t kAlign = 8;             // the data begins at a multiple of this, bytes
constexpr int64_t kChunkBytes = 1 << 20;  // staging of conversions and writes
constexpr char kAgain[] = "; the file is damaged, copy or download it again";
constexpr char kMetadata[] = "__metadata__";

std::string place(const std::string& path, std::string_view name) { return text("[", path, "] tensor ", shown(name), ": "); }

// Product of the shape; nothing when it passes 2^63 - 1.
std::optional<int64_t> element_count(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t extent : shape)
    if (extent < 0 || __builtin_mul_overflow(count, extent, &count)) return std::nullopt;
  return count;
}

// Reads one member of __metadata__ or one tensor after another from the header.
class HeaderParser {
 public:
  HeaderParser(const std::string& path, std::string_view header) : path_(path), json_(header, path, "SAFETENSORS_HEADER") {}

  void parse() {
    json_.object([&](const std::string& key) {
      if (key != kMetadata) return tensor(key);
      json_.object([&](const std::string& name) { metadata[name] = json_.string(); });
    });
    json_.end();
  }

  std::vector<TensorInfo> tensors;
  std::map<std::string, std::string> metadata;

 private:
  void tensor(const std::string& name) {
    std::optional<std::string> dtype;
    std::optional<std::vector<int64_t>> shape, offsets;
    json_.object([&](const std::string& field) {
      if (field == "dtype")
        dtype = json_.string();
      else if (field == "shape")
        shape = integers(SafetensorsFile::kMaxRank, "at most 32 dimensions");
      else if (field == "data_offsets")
        offsets = integers(2, "two offsets");
      else
        json_.fail(text("only dtype, shape and data_offsets in tensor ", shown(name), ", got the field ", shown(field)));
    });
    ZAZEN_CHECK(dtype && shape && offsets && offsets->size() == 2, "SAFETENSORS_HEADER", place(path_, name),
                "expected dtype, shape and two data_offsets, got fewer", kAgain);
    tensors.push_back(checked(name, *dtype, std::move(*shape), (*offsets)[0], (*offsets)[1]));
  }

  std::vector<int64_t> integers(int64_t limit, const char* what) {
    std::vector<int64_t> out;
    json_.array([&] {
      if (static_cast<int64_t>(out.size()) == limit) json_.fail(what);
      out.push_back(json_.integer());
    });
    return out;
  }

  TensorInfo checked(const std::string& name, const std::string& dtype, std::vector<int64_t> shape, int64_t begin,
                     int64_t end) {
    const auto type = dtype_from_name(dtype);
    ZAZEN_CHECK(type, "SAFETENSORS_DTYPE", place(path_, name),
                "expected dtype F64, F32, F16, BF16, I64, I32, I16, I8, U8 or BOOL, got ", shown(dtype),
                "; convert the checkpoint to one of them");
    ZAZEN_CHECK(begin <= end, "SAFETENSORS_OFFSETS", place(path_, name), "expected data_offsets in order, got [", begin, ", ",
                end, "]", kAgain);
    const auto elements = element_count(shape);
    int64_t bytes = 0;
    const bool fits = elements && !__builtin_mul_overflow(*elements, dtype_bytes(*type), &bytes);
    ZAZEN_CHECK(fits && bytes == end - begin, "SAFETENSORS_OFFSETS", place(path_, name), "expected ", dtype, " ",
                shape_text(shape), " to take ", fits ? text(bytes) : "more than 2^63", " bytes, got data_offsets of ",
                end - begin, kAgain);
    return {name, *type, std::move(shape), *elements, begin, end};
  }

  const std::string& path_;
  JsonReader json_;
};

// The length that the first bytes state, checked against the file's size.
int64_t read_header_length(const File& file, int64_t size) {
  ZAZEN_CHECK(size >= kPrefix, "FILE_TRUNCATED", "[", file.path(), "] expected a safetensors file, got ", size, " bytes",
              kAgain);
  uint64_t length;
  file.pread_exact(&length, kPrefix, 0);
  ZAZEN_CHECK(length <= static_cast<uint64_t>(SafetensorsFile::kMaxHeader), "SAFETENSORS_HEADER", "[", file.path(),
              "] expected a header of at most ", SafetensorsFile::kMaxHeader, " bytes, got ", length,
              "; the file is not safetensors or damaged");
  ZAZEN_CHECK(static_cast<int64_t>(length) <= size - kPrefix, "SAFETENSORS_HEADER", "[", file.path(), "] expected a header of ",
              length, " bytes, got a file with ", size - kPrefix,
              " after the length; the file is cut short or not safetensors");
  return static_cast<int64_t>(length);
}

// Tensors must lie end to end from 0 to the end of the file.
void check_layout(const std::string& path, const std::vector<TensorInfo>& tensors, int64_t data_bytes) {
  std::vector<const TensorInfo*> order;
  for (const TensorInfo& tensor : tensors) order.push_back(&tensor);
  std::sort(order.begin(), order.end(),
            [](const auto* a, const auto* b) { return std::tie(a->begin, a->end) < std::tie(b->begin, b->end); });
  int64_t covered = 0;
  for (const TensorInfo* tensor : order) {
    ZAZEN_CHECK(tensor->begin == covered, "SAFETENSORS_OFFSETS", place(path, tensor->name),
                "expected data_offsets that begin at ", covered, ", where the tensor before ends, got ", tensor->begin,
                tensor->begin < covered ? " (an overlap)" : " (a gap)", kAgain);
    covered = tensor->end;
  }
  // Offsets that fit each other but not the file are what a download that stopped early leaves.
  ZAZEN_CHECK(covered <= data_bytes, "FILE_TRUNCATED", place(path, order.empty() ? "" : order.back()->name), "expected ",
              covered, " bytes of tensors, as the header states, got ", data_bytes,
              "; the file is cut short, copy or download it again");
  ZAZEN_CHECK(covered == data_bytes, "SAFETENSORS_OFFSETS", "[", path, "] expected ", covered,
              " bytes of tensors, as the header states, got ", data_bytes, kAgain);
}

std::string header_of(const std::vector<TensorSource>& tensors, const std::map<std::string, std::string>& metadata) {
  std::string header = R"({"__metadata__":{"format":"pt")";
  for (const auto& [name, value] : metadata) header += text(",", json_quote(name), ":", json_quote(value));
  header += "}";
  int64_t begin = 0;
  for (const TensorSource& tensor : tensors) {
    const auto elements = element_count(tensor.shape);
    int64_t bytes = 0, end = 0;
    const bool fits = elements && !__builtin_mul_overflow(*elements, dtype_bytes(tensor.type), &bytes) &&
                      !__builtin_add_overflow(begin, bytes, &end);
    ZAZEN_CHECK(fits, "BAD_ARGUMENT", "tensor ", shown(tensor.name), ": expected a shape that fits in memory, got ",
                shape_text(tensor.shape));
    header += text(",", json_quote(tensor.name), R"(:{"dtype":")", dtype_name(tensor.type), R"(","shape":)",
                   shape_text(tensor.shape), R"(,"data_offsets":[)", begin, ",", end, "]}");
    begin = end;
  }
  header += "}";
  header.resize((header.size() + kAlign - 1) / kAlign * kAlign, ' ');
  return header;
}

// Writes one tensor at `offset` in chunks of whole rows; returns where it ends.
int64_t write_tensor(File& file, const TensorSource& tensor, int64_t offset, std::vector<float>& chunk) {
  const DType type = tensor.type;
  const int64_t size = dtype_bytes(type);
  const int64_t elements = *element_count(tensor.shape);
  const int64_t row = tensor.shape.empty() ? 1 : std::max<int64_t>(1, tensor.shape.back());
  const int64_t step = std::max<int64_t>(1, kChunkBytes / size / row) * row;
  std::vector<bf16> rounded;
  for (int64_t first = 0; first < elements; first += step) {
    const int64_t count = std::min(step, elements - first);
    chunk.resize(static_cast<size_t>(count));
    tensor.read(first, count, chunk.data());
    if (type == DType::bf16) {
      rounded.resize(chunk.size());
      std::transform(chunk.begin(), chunk.end(), rounded.begin(), f32_to_bf16);
    }
    const void* data = type == DType::bf16 ? static_cast<const void*>(rounded.data()) : chunk.data();
    file.pwrite_exact(data, count * size, offset + first * size);
  }
  return offset + elements * size;
}

}  // namespace

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string out = "[";
  for (size_t i = 0; i < shape.size(); ++i) out += text(i ? "," : "", shape[i]);
  return out + "]";
}

SafetensorsFile::SafetensorsFile(const std::string& path) : file_(File::open_read(path)) {
  const int64_t size = file_.size();
  std::string header(static_cast<size_t>(read_header_length(file_, size)), '\0');
  data_ = kPrefix + static_cast<int64_t>(header.size());
  file_.pread_exact(header.data(), static_cast<int64_t>(header.size()), kPrefix);
  ZAZEN_CHECK(header.starts_with('{'), "SAFETENSORS_HEADER", "[", path, "] expected a header that begins with '{', got ",
              header.empty() ? "none" : "another byte", "; the file is not safetensors or damaged");
  HeaderParser parser(path, header);
  parser.parse();
  check_layout(path, parser.tensors, size - data_);
  tensors_ = std::move(parser.tensors);
  metadata_ = std::move(parser.metadata);
  std::sort(tensors_.begin(), tensors_.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
}

const TensorInfo* SafetensorsFile::find(std::string_view name) const {
  const auto at = std::lower_bound(tensors_.begin(), tensors_.end(), name,
                                   [](const TensorInfo& tensor, std::string_view wanted) { return tensor.name < wanted; });
  return at != tensors_.end() && at->name == name ? &*at : nullptr;
}

const TensorInfo& SafetensorsFile::require(std::string_view name, const std::vector<int64_t>& shape) const {
  const TensorInfo* tensor = find(name);
  ZAZEN_CHECK(tensor, "TENSOR_MISSING", place(path(), name), "expected a tensor of shape ", shape_text(shape),
              ", got none of that name among ", tensors_.size(), "; check that config.json belongs to these weights");
  ZAZEN_CHECK(tensor->shape == shape, "TENSOR_SHAPE", place(path(), name), "expected shape ", shape_text(shape), ", got ",
              shape_text(tensor->shape), "; check that config.json belongs to these weights");
  return *tensor;
}

const TensorInfo& SafetensorsFile::require_float(std::string_view name, const std::vector<int64_t>& shape) const {
  const TensorInfo& tensor = require(name, shape);
  check_float(tensor);
  return tensor;
}

void SafetensorsFile::check_float(const TensorInfo& tensor) const {
  ZAZEN_CHECK(dtype_is_float(tensor.dtype), "SAFETENSORS_DTYPE", place(path(), tensor.name),
              "expected dtype F32, F16, BF16 or F64, got ", dtype_name(tensor.dtype), "; quantized weights are not supported");
}

void SafetensorsFile::read_f32(const TensorInfo& tensor, int64_t first, int64_t count, float* out) const {
  check_float(tensor);
  ZAZEN_CHECK(first >= 0 && count >= 0 && first <= tensor.elements - count, "BAD_ARGUMENT", place(path(), tensor.name),
              "expected a range within ", tensor.elements, " elements, got ", count, " from ", first);
  const int64_t width = dtype_bytes(tensor.dtype), offset = data_ + tensor.begin + first * width;
  if (tensor.dtype == DType::f32) return file_.pread_exact(out, count * width, offset);
  const int64_t step = kChunkBytes / width;
  std::vector<unsigned char> chunk(static_cast<size_t>(std::min(count, step) * width));
  for (int64_t done = 0; done < count; done += step) {
    const int64_t now = std::min(step, count - done);
    file_.pread_exact(chunk.data(), now * width, offset + done * width);
    convert_to_f32(out + done, chunk.data(), tensor.dtype, now);
  }
}

void write_safetensors(const std::string& path, std::vector<TensorSource> tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  for (size_t i = 0; i < tensors.size(); ++i)
    ZAZEN_CHECK(tensors[i].name != kMetadata && (i == 0 || tensors[i].name != tensors[i - 1].name), "BAD_ARGUMENT", "[", path,
                "] expected tensor names that differ, got ", shown(tensors[i].name), " twice or reserved");
  const std::string header = header_of(tensors, metadata);
  const uint64_t length = header.size();
  AtomicFile target(path);
  target.file().pwrite_exact(&length, kPrefix, 0);
  target.file().pwrite_exact(header.data(), static_cast<int64_t>(header.size()), kPrefix);
  int64_t offset = kPrefix + static_cast<int64_t>(header.size());
  std::vector<float> chunk;
  for (const TensorSource& tensor : tensors) offset = write_tensor(target.file(), tensor, offset, chunk);
  target.commit();
}

}  // namespace zazen

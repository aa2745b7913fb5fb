// Reads and writes safetensors files (https://github.com/huggingface/safetensors, "Format"): a JSON header, then raw tensors.
// The whole header is checked before any tensor is read, so a TensorInfo can be trusted.
// Errors: FILE_MISSING, FILE_TRUNCATED, FILE_IO, SAFETENSORS_HEADER, SAFETENSORS_DTYPE, SAFETENSORS_OFFSETS, TENSOR_MISSING,
// TENSOR_SHAPE.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"
#include "core/file.h"

namespace zazen {

struct TensorInfo {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;
  int64_t elements;    // product of the shape
  int64_t begin, end;  // bytes, from the start of the data
};

std::string shape_text(const std::vector<int64_t>& shape);

class SafetensorsFile {
 public:
  static constexpr int64_t kMaxHeader = 100'000'000;  // bytes, the format's own limit
  static constexpr int64_t kMaxRank = 32;

  explicit SafetensorsFile(const std::string& path);

  const std::string& path() const { return file_.path(); }
  const std::vector<TensorInfo>& tensors() const { return tensors_; }  // sorted by name
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  const TensorInfo* find(std::string_view name) const;  // null when there is none
  // The tensor of that name; TENSOR_MISSING, or TENSOR_SHAPE when its shape differs.
  const TensorInfo& require(std::string_view name, const std::vector<int64_t>& shape) const;
  // The same, of a type that read_f32 reads; else SAFETENSORS_DTYPE.
  const TensorInfo& require_float(std::string_view name, const std::vector<int64_t>& shape) const;

  // out [count]: elements [first, first + count) in row-major order. F32, F16 and BF16 exactly, F64 rounded to nearest;
  // other types are SAFETENSORS_DTYPE. Reads in bounded chunks.
  void read_f32(const TensorInfo& tensor, int64_t first, int64_t count, float* out) const;

 private:
  void check_float(const TensorInfo& tensor) const;

  File file_;
  int64_t data_ = 0;  // where the data begins in the file, bytes
  std::vector<TensorInfo> tensors_;
  std::map<std::string, std::string> metadata_;
};

// A tensor to write. `read` fills out [count] with elements [first, first + count); both are multiples of the length of a row
// (of the last dimension; 1 for a scalar), and calls come in order.
struct TensorSource {
  std::string name;
  std::vector<int64_t> shape;
  std::function<void(int64_t first, int64_t count, float* out)> read;
  DType type = DType::f32;  // in the file: F32 or BF16, which is rounded to nearest from what is read
};

// Writes tensors, sorted by name, with the metadata {"format": "pt"} that transformers asks for and `metadata` beside it. The
// same tensors give the same bytes. The file appears whole or not at all.
void write_safetensors(const std::string& path, std::vector<TensorSource> tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace zazen

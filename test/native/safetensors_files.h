// Builds and reads small safetensors files for tests, good and bad ones alike.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "core/check.h"
#include "core/safetensors.h"

namespace zazen::test {

// A folder that lives as long as the object.
class Folder {
 public:
  explicit Folder(const std::string& parent = "/tmp") : path_(parent + "/zazen-test-XXXXXX") {
    ZAZEN_CHECK(mkdtemp(path_.data()) != nullptr, "TEST", "no temporary folder");
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  size_t entries() const {
    const std::filesystem::directory_iterator all(path_);
    return static_cast<size_t>(std::distance(begin(all), end(all)));
  }

 private:
  std::string path_;
};

inline void write_bytes(const std::string& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

inline std::string read_bytes(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

template <class T>
inline std::string raw(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

inline std::string with_length(uint64_t length, const std::string& rest) { return raw<uint64_t>({length}) + rest; }
inline std::string file_of(const std::string& header, const std::string& data) {
  return with_length(header.size(), header + data);
}

inline std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                         const std::string& offsets) {
  return "\"" + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

inline std::vector<float> read_all(const SafetensorsFile& file, const std::string& name) {
  const TensorInfo& tensor = *file.find(name);
  std::vector<float> out(static_cast<size_t>(tensor.elements));
  file.read_f32(tensor, 0, tensor.elements, out.data());
  return out;
}

}  // namespace zazen::test

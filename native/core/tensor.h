// Views of elements whose type is known at run time: a pointer that says what it points to. Kernels take them, so that an op
// has one signature for every type; shapes are the op's own arguments. Owners are Buffer and TensorBuffer.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/buffer.h"
#include "core/dtype.h"

namespace zazen {

template <class T>
inline constexpr DType kTypeOf = DType::f32;
template <>
inline constexpr DType kTypeOf<bf16> = DType::bf16;

// Elements to read: f32 or bf16.
struct TensorView {
  const void* data = nullptr;
  DType type = DType::f32;

  TensorView() = default;
  TensorView(const void* at, DType of) : data(at), type(of) {}
  TensorView(const float* at) : data(at), type(DType::f32) {}
  TensorView(const bf16* at) : data(at), type(DType::bf16) {}
  template <class T>
  const T* as() const {
    return static_cast<const T*>(data);
  }
  TensorView operator+(int64_t elements) const {
    return {static_cast<const std::byte*>(data) + elements * dtype_bytes(type), type};
  }
};

// Elements to read and write.
struct TensorRef {
  void* data = nullptr;
  DType type = DType::f32;

  TensorRef() = default;
  TensorRef(void* at, DType of) : data(at), type(of) {}
  TensorRef(float* at) : data(at), type(DType::f32) {}
  TensorRef(bf16* at) : data(at), type(DType::bf16) {}
  operator TensorView() const { return {data, type}; }
  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
  TensorRef operator+(int64_t elements) const { return {static_cast<std::byte*>(data) + elements * dtype_bytes(type), type}; }
  TensorRef& operator+=(int64_t elements) { return *this = *this + elements; }
};

// Calls body with the pointer in the elements' own type.
template <class Tensor, class Body>
inline decltype(auto) with_type(const Tensor& a, const Body& body) {
  return a.type == DType::bf16 ? body(a.template as<bf16>()) : body(a.template as<float>());
}
template <class A, class B, class Body>
inline decltype(auto) with_types(const A& a, const B& b, const Body& body) {
  return with_type(a, [&](auto* first) { return with_type(b, [&](auto* second) { return body(first, second); }); });
}
template <class A, class B, class C, class Body>
inline decltype(auto) with_types(const A& a, const B& b, const C& c, const Body& body) {
  return with_type(
      a, [&](auto* first) { return with_types(b, c, [&](auto* second, auto* third) { return body(first, second, third); }); });
}

// Owner of elements of a type known at run time.
class TensorBuffer {
 public:
  TensorBuffer() = default;
  TensorBuffer(DType type, int64_t count) { reset(type, count); }
  // Replaces the content by `count` zeros.
  void reset(DType type, int64_t count) {
    memory_.reset(static_cast<size_t>(checked_product(count, dtype_bytes(type))));
    type_ = type;
  }
  // Grows to at least `count` elements; content is lost when it grows.
  void reserve(DType type, int64_t count) {
    memory_.reserve(static_cast<size_t>(checked_product(count, dtype_bytes(type))));
    type_ = type;
  }
  TensorRef ref() { return {memory_.data(), type_}; }
  TensorView view() const { return {memory_.data(), type_}; }
  int64_t bytes() const { return static_cast<int64_t>(memory_.size()); }
  bool empty() const { return memory_.size() == 0; }

 private:
  Buffer<std::byte> memory_;
  DType type_ = DType::f32;
};

}  // namespace zazen

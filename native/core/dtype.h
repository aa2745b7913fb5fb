// Element types of tensors, and the conversion between them. Memory holds f32 and bf16; the others exist only in files.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

namespace zazen {

static_assert(std::endian::native == std::endian::little, "tensor files are little-endian and read as they are");

enum class DType { f64, f32, f16, bf16, i64, i32, i16, i8, u8, boolean };

struct DTypeInfo {
  DType type;
  std::string_view name;  // as safetensors spells it
  int64_t bytes;
};

// In the order of the enum.
inline constexpr DTypeInfo kDTypes[] = {
    {DType::f64, "F64", 8}, {DType::f32, "F32", 4},      {DType::f16, "F16", 2}, {DType::bf16, "BF16", 2},
    {DType::i64, "I64", 8}, {DType::i32, "I32", 4},      {DType::i16, "I16", 2}, {DType::i8, "I8", 1},
    {DType::u8, "U8", 1},   {DType::boolean, "BOOL", 1},
};

inline std::string_view dtype_name(DType type) { return kDTypes[static_cast<size_t>(type)].name; }
inline int64_t dtype_bytes(DType type) { return kDTypes[static_cast<size_t>(type)].bytes; }
inline bool dtype_is_float(DType type) { return type <= DType::bf16; }

inline std::optional<DType> dtype_from_name(std::string_view name) {
  for (const DTypeInfo& info : kDTypes)
    if (info.name == name) return info.type;
  return std::nullopt;
}

// The upper half of an f32.
struct bf16 {
  uint16_t bits;
};
static_assert(sizeof(bf16) == 2, "arrays of bf16 are arrays of their bits");

// Exact: every bf16 is an f32.
inline float bf16_to_f32(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

// To nearest, ties to even; subnormals are kept, and a NaN stays one.
inline bf16 f32_to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if (value != value) return {static_cast<uint16_t>(bits >> 16 | 0x40)};
  return {static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16)};
}

// Exact: every f16, subnormals included, is an f32. NaNs keep their payload.
inline float f16_to_f32(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
  const uint32_t exponent = (bits >> 10) & 0x1f, fraction = bits & 0x3ff;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | sign);
  }
  const uint32_t wide = exponent == 0x1f ? 0xff : exponent + (127 - 15);
  return std::bit_cast<float>(sign | wide << 23 | fraction << 13);
}

// `count` elements of a float type at `from` (any alignment) as f32 [count]. f64 rounds to nearest, ties to even.
inline void convert_to_f32(float* out, const unsigned char* from, DType type, int64_t count) {
  const auto each = [&]<class T>(T, auto to_f32) {
    for (int64_t i = 0; i < count; ++i) {
      T value;
      std::memcpy(&value, from + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
      out[i] = to_f32(value);
    }
  };
  if (type == DType::f64) each(double{}, [](double value) { return static_cast<float>(value); });
  if (type == DType::f32) std::memcpy(out, from, static_cast<size_t>(count) * sizeof(float));
  if (type == DType::f16) each(uint16_t{}, f16_to_f32);
  if (type == DType::bf16) each(uint16_t{}, bf16_to_f32);
}

}  // namespace zazen

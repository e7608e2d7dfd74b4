#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <support/bytes.hpp>

/// GGUF files built byte by byte from the written format, sharing nothing with the library.
namespace nibble_test {

using byte_list = std::vector<std::byte>;

inline void append_bytes(byte_list& to, std::span<const std::byte> bytes) {
  to.insert(to.end(), bytes.begin(), bytes.end());
}

/// A string as GGUF has it: the length in 8 bytes, and the bytes.
inline void append_gguf_string(byte_list& to, std::string_view text) {
  append_number(to, std::uint64_t{text.size()});
  append_bytes(to, bytes_of(text));
}

/// Ids of value types, as the format's text has them.
namespace gguf_id {
inline constexpr std::uint32_t u8 = 0;
inline constexpr std::uint32_t i8 = 1;
inline constexpr std::uint32_t u16 = 2;
inline constexpr std::uint32_t i16 = 3;
inline constexpr std::uint32_t u32 = 4;
inline constexpr std::uint32_t i32 = 5;
inline constexpr std::uint32_t f32 = 6;
inline constexpr std::uint32_t boolean = 7;
inline constexpr std::uint32_t string = 8;
inline constexpr std::uint32_t array = 9;
inline constexpr std::uint32_t u64 = 10;
inline constexpr std::uint32_t i64 = 11;
inline constexpr std::uint32_t f64 = 12;
}  // namespace gguf_id

/// The bytes of a number, of a string.
template <class Number>
[[nodiscard]] byte_list number_bytes(Number number) {
  byte_list bytes;
  append_number(bytes, number);
  return bytes;
}
[[nodiscard]] inline byte_list number_bytes(float number) {
  return number_bytes(std::bit_cast<std::uint32_t>(number));
}
[[nodiscard]] inline byte_list number_bytes(double number) {
  return number_bytes(std::bit_cast<std::uint64_t>(number));
}
[[nodiscard]] inline byte_list string_bytes(std::string_view text) {
  byte_list bytes;
  append_gguf_string(bytes, text);
  return bytes;
}

/// The bytes of an array: the elements' type, their number (that given, or the true one), themselves.
[[nodiscard]] inline byte_list array_bytes(std::uint32_t type, const std::vector<byte_list>& elements,
                                           std::optional<std::uint64_t> count = {}) {
  byte_list bytes;
  append_number(bytes, type);
  append_number(bytes, count.value_or(elements.size()));
  for (const byte_list& element : elements) append_bytes(bytes, element);
  return bytes;
}

/// A key, a type and the bytes of a value.
struct gguf_value {
  std::string key{};
  std::uint32_t type = 0;
  byte_list bytes{};
};

/// An entry of the tensor list and the bytes behind it.
struct gguf_tensor {
  std::string name{};
  std::uint32_t type = 0;
  std::vector<std::uint64_t> dimensions{};  ///< as files have them, innermost first
  byte_list bytes{};
  std::optional<std::uint64_t> offset{};  ///< from the data; otherwise the next aligned one
  std::optional<std::uint64_t> name_bytes{};
  std::optional<std::uint32_t> rank{};
};

/// A GGUF file. What is set explicitly goes into it as it is.
struct gguf_file {
  std::uint32_t version = 3;
  std::vector<gguf_value> metadata{};
  std::vector<gguf_tensor> tensors{};
  std::size_t alignment = 32;  ///< that the file is laid out by; nothing is written of it
  std::optional<std::uint64_t> tensor_count{};
  std::optional<std::uint64_t> metadata_count{};
  bool is_padded_at_its_end = true;

  [[nodiscard]] byte_list bytes() const {
    byte_list file = bytes_of("GGUF");
    append_number(file, version);
    append_number(file, tensor_count.value_or(tensors.size()));
    append_number(file, metadata_count.value_or(metadata.size()));
    for (const gguf_value& value : metadata) {
      append_gguf_string(file, value.key);
      append_number(file, value.type);
      append_bytes(file, value.bytes);
    }
    const auto round_up = [&](std::size_t bytes) {
      return (bytes + alignment - 1) / alignment * alignment;
    };
    byte_list data;
    std::size_t end = 0;
    for (const gguf_tensor& tensor : tensors) {
      const std::uint64_t offset = tensor.offset.value_or(round_up(end));
      append_number(file, tensor.name_bytes.value_or(tensor.name.size()));
      append_bytes(file, bytes_of(tensor.name));
      append_number(file, tensor.rank.value_or(static_cast<std::uint32_t>(tensor.dimensions.size())));
      for (const std::uint64_t dimension : tensor.dimensions) append_number(file, dimension);
      append_number(file, tensor.type);
      append_number(file, offset);
      if (offset > 1U << 24U) continue;  // an offset that lies, not a place
      const auto at = static_cast<std::size_t>(offset);
      data.resize(std::max(data.size(), at + tensor.bytes.size()));
      std::ranges::copy(tensor.bytes, data.begin() + static_cast<std::ptrdiff_t>(at));
      end = std::max(end, at + tensor.bytes.size());
    }
    if (is_padded_at_its_end) data.resize(round_up(data.size()));
    if (!tensors.empty()) file.resize(round_up(file.size()));
    append_bytes(file, data);
    return file;
  }
};

/// One value of every type, and the shapes that arrays come in.
[[nodiscard]] inline std::vector<gguf_value> sample_gguf_metadata() {
  namespace id = gguf_id;
  return {
      {"general.architecture", id::string, string_bytes("llama")},
      {"a.u8", id::u8, number_bytes(std::uint8_t{250})},
      {"a.i8", id::i8, number_bytes(std::int8_t{-100})},
      {"a.u16", id::u16, number_bytes(std::uint16_t{65000})},
      {"a.i16", id::i16, number_bytes(std::int16_t{-30000})},
      {"a.u32", id::u32, number_bytes(std::uint32_t{4000000000})},
      {"a.i32", id::i32, number_bytes(std::int32_t{-2000000000})},
      {"a.i32.positive", id::i32, number_bytes(std::int32_t{7})},
      {"a.u64", id::u64, number_bytes(~std::uint64_t{0})},
      {"a.u64.small", id::u64, number_bytes(std::uint64_t{7})},
      {"a.i64", id::i64, number_bytes(std::int64_t{-9007199254740993})},
      {"a.f32", id::f32, number_bytes(1e-5F)},
      {"a.f32.whole", id::f32, number_bytes(10000.0F)},
      {"a.f64", id::f64, number_bytes(0.1)},
      {"a.f64.short", id::f64, number_bytes(0.5)},
      {"a.bool", id::boolean, number_bytes(std::uint8_t{1})},
      {"a.no", id::boolean, number_bytes(std::uint8_t{0})},
      {"a.text", id::string, string_bytes(std::string_view("\xE2\x96\x81na\xC3\xAFve\0\n\"", 12))},
      {"a.bytes", id::string, string_bytes("ok\xFF\xC3(")},
      {"a.nan", id::f32, number_bytes(std::uint32_t{0x7FC00123})},
      {"a.infinite", id::f64, number_bytes(std::uint64_t{0xFFF0000000000000})},
      {"b.none.u32", id::array, array_bytes(id::u32, {})},
      {"b.none.text", id::array, array_bytes(id::string, {})},
      {"b.none.arrays", id::array, array_bytes(id::array, {})},
      {"b.i32", id::array,
       array_bytes(id::i32, {number_bytes(std::int32_t{1}), number_bytes(std::int32_t{3})})},
      {"b.u8", id::array,
       array_bytes(id::u8, {number_bytes(std::uint8_t{0}), number_bytes(std::uint8_t{255})})},
      {"b.bool", id::array,
       array_bytes(id::boolean, {number_bytes(std::uint8_t{1}), number_bytes(std::uint8_t{0})})},
      {"b.f32", id::array,
       array_bytes(id::f32, {number_bytes(-2.25F), number_bytes(std::uint32_t{0xFF800001}),
                             number_bytes(0.0F), number_bytes(std::uint32_t{0x7F800000})})},
      {"b.f64", id::array, array_bytes(id::f64, {number_bytes(0.1), number_bytes(-0.0)})},
      {"b.text", id::array,
       array_bytes(id::string, {string_bytes("alpha"), string_bytes(""), string_bytes("\xFE")})},
      {"b.arrays", id::array,
       array_bytes(id::array, {array_bytes(id::u16, {number_bytes(std::uint16_t{1})}),
                               array_bytes(id::u16, {number_bytes(std::uint16_t{2}),
                                                     number_bytes(std::uint16_t{3})})})},
      {"b.arrays.mixed", id::array,
       array_bytes(id::array, {array_bytes(id::i8, {number_bytes(std::int8_t{-1})}),
                               array_bytes(id::i8, {}), array_bytes(id::string, {string_bytes("\xFF")}),
                               array_bytes(id::array, {array_bytes(id::f64, {})})})},
  };
}

/// A small file of several types and shapes, one of them none that the library knows (id 36), with
/// every kind of metadata.
[[nodiscard]] inline gguf_file sample_gguf_file() {
  const auto some_bytes = [](std::size_t count, unsigned seed) {
    byte_list bytes(count);
    for (std::size_t i = 0; i < count; ++i) {
      bytes[i] = static_cast<std::byte>((i * 37 + seed * 101) & 0x3FU);
    }
    return bytes;
  };
  return {.metadata = sample_gguf_metadata(),
          .tensors = {{"token_embd.weight", 0, {5, 3}, some_bytes(60, 1)},
                      {"blk.1.q", 2, {64, 2}, some_bytes(72, 2)},
                      {"blk.0.k", 12, {256, 1, 3}, some_bytes(432, 3)},
                      {"norm", 1, {7}, some_bytes(14, 4)},
                      {"scalar", 28, {}, some_bytes(8, 5)},
                      {"none", 8, {32, 0}, {}},
                      {"other", 36, {9, 2}, some_bytes(36, 6)},
                      {"last", 24, {3, 1, 1, 2}, some_bytes(6, 7)}}};
}

}  // namespace nibble_test

#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "../support/files.hpp"

/// Tensor files written and read by these tests alone, from the formats' descriptions: nothing of the
/// library is used, so that both cannot be wrong in the same way.
namespace nibble_test {

/// A tensor as it stands in a file.
struct stored_tensor {
  std::string name{};
  std::string dtype{};  ///< safetensors' name of it
  std::vector<std::uint64_t> shape{};
  std::vector<std::byte> bytes{};
};

/// The bytes of numbers, little-endian.
template <class Number>
std::vector<std::byte> bytes_of(const std::vector<Number>& numbers) {
  const auto bytes = std::as_bytes(std::span(numbers));
  return {bytes.begin(), bytes.end()};
}

/// Numbers from bytes, little-endian.
template <class Number>
std::vector<Number> numbers_of(std::span<const std::byte> bytes) {
  std::vector<Number> numbers(bytes.size() / sizeof(Number));
  std::memcpy(numbers.data(), bytes.data(), numbers.size() * sizeof(Number));
  return numbers;
}

/// The value of an IEEE 754 binary16.
inline float half_value(std::uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const int mantissa = bits & 1023;
  const float sign = (bits & 0x8000) != 0 ? -1.0F : 1.0F;
  if (exponent == 31) return mantissa == 0 ? sign * INFINITY : NAN;
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -24);
  return sign * std::ldexp(static_cast<float>(1024 + mantissa), exponent - 25);
}
inline std::vector<float> half_values(const std::vector<std::uint16_t>& codes) {
  std::vector<float> values;
  for (const std::uint16_t bits : codes) values.push_back(half_value(bits));
  return values;
}

/// The binary16 nearest to a value from 0 to 65504, the even one of two: by looking at them all.
inline std::uint16_t nearest_half(float value) {
  std::uint16_t nearest = 0;
  for (std::uint16_t bits = 1; bits < 0x7C00; ++bits) {
    const float before = std::fabs(half_value(nearest) - value);
    const float error = std::fabs(half_value(bits) - value);
    if (error < before || (error == before && bits % 2 == 0)) nearest = bits;
  }
  return nearest;
}

/// The value of a bfloat16.
inline float bfloat_value(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}
inline std::vector<float> bfloat_values(const std::vector<std::uint16_t>& codes) {
  std::vector<float> values;
  for (const std::uint16_t bits : codes) values.push_back(bfloat_value(bits));
  return values;
}

/// Writes a safetensors file of these tensors in this order.
inline void write_safetensors(const std::string& path, const std::vector<stored_tensor>& tensors,
                              const nlohmann::json& metadata = nullptr) {
  nlohmann::json header = nlohmann::json::object();
  if (!metadata.is_null()) header["__metadata__"] = metadata;
  std::vector<std::byte> data;
  for (const stored_tensor& tensor : tensors) {
    header[tensor.name] = {{"dtype", tensor.dtype},
                           {"shape", tensor.shape},
                           {"data_offsets", {data.size(), data.size() + tensor.bytes.size()}}};
    data.insert(data.end(), tensor.bytes.begin(), tensor.bytes.end());
  }
  const std::string text = header.dump();
  std::vector<std::byte> file = bytes_of(std::vector<std::uint64_t>{text.size()});
  const auto letters = std::as_bytes(std::span(text));
  file.insert(file.end(), letters.begin(), letters.end());
  file.insert(file.end(), data.begin(), data.end());
  write_file(path, file);
}

/// A safetensors file as it was read.
struct safetensors_file {
  nlohmann::json metadata{};
  std::vector<stored_tensor> tensors{};

  [[nodiscard]] const stored_tensor& operator[](const std::string& name) const {
    for (const stored_tensor& tensor : tensors) {
      if (tensor.name == name) return tensor;
    }
    throw std::runtime_error("no tensor " + name);
  }
};

inline safetensors_file read_safetensors(const std::string& path) {
  const std::vector<std::byte> bytes = read_file(path);
  const auto length =
      static_cast<std::size_t>(numbers_of<std::uint64_t>(std::span(bytes).first(8)).front());
  const auto* const text = reinterpret_cast<const char*>(bytes.data()) + 8;
  const nlohmann::json header = nlohmann::json::parse(text, text + length);
  safetensors_file file;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") {
      file.metadata = entry;
      continue;
    }
    const auto begin = entry.at("data_offsets").at(0).get<std::size_t>();
    const auto end = entry.at("data_offsets").at(1).get<std::size_t>();
    const auto part = std::span(bytes).subspan(8 + length + begin, end - begin);
    file.tensors.push_back({name,
                            entry.at("dtype").get<std::string>(),
                            entry.at("shape").get<std::vector<std::uint64_t>>(),
                            {part.begin(), part.end()}});
  }
  return file;
}

/// Values of rows of blocks of 32, each f16 scale, f16 min and codes: scale * code(block, j) + min.
template <class Code>
std::vector<float> decode_blocks(std::span<const std::byte> bytes, std::size_t rows, std::size_t cols,
                                 std::size_t block_bytes, const Code& code) {
  std::vector<float> values;
  const std::size_t row_blocks = (cols + 31) / 32;
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t col = 0; col < cols; ++col) {
      const auto block = bytes.subspan((row * row_blocks + col / 32) * block_bytes, block_bytes);
      const auto head = numbers_of<std::uint16_t>(block.first(4));
      const unsigned own = code(block.subspan(4), col % 32);
      values.push_back(half_value(head[0]) * static_cast<float>(own) + half_value(head[1]));
    }
  }
  return values;
}

/// Values of a q8 tensor: u8 q[32].
inline std::vector<float> decode_q8(std::span<const std::byte> bytes, std::size_t rows,
                                    std::size_t cols) {
  return decode_blocks(bytes, rows, cols, 36, [](std::span<const std::byte> codes, std::size_t j) {
    return std::to_integer<unsigned>(codes[j]);
  });
}

/// Values of a q4 tensor: u8 p[16]; q[j] = p[j] & 15, q[j + 16] = p[j] >> 4.
inline std::vector<float> decode_q4(std::span<const std::byte> bytes, std::size_t rows,
                                    std::size_t cols) {
  return decode_blocks(bytes, rows, cols, 20, [](std::span<const std::byte> codes, std::size_t j) {
    const auto pair = std::to_integer<unsigned>(codes[j % 16]);
    return j < 16 ? pair & 15U : pair >> 4U;
  });
}

/// sqrt(sum (a - b)^2 / sum a^2) over several pairs of tensors together.
class relative_rmse {
 public:
  void add(const std::vector<float>& reference, const std::vector<float>& other) {
    for (std::size_t i = 0; i < reference.size(); ++i) {
      const double a = reference[i];
      const double b = other.at(i);
      errors_ += (a - b) * (a - b);
      squares_ += a * a;
    }
  }
  [[nodiscard]] double value() const { return std::sqrt(errors_ / squares_); }

 private:
  double errors_ = 0.0;
  double squares_ = 0.0;
};

}  // namespace nibble_test

#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nibble/checkpoint.hpp>

#include <support/bytes.hpp>
#include <support/catch.hpp>
#include <support/checkpoint_files.hpp>
#include <support/files.hpp>
#include <support/outcome.hpp>
#include <support/random_values.hpp>

/// Checkpoints of quantized weights, written tensor by tensor from the schemes' descriptions; what they
/// decode to is worked out from the numbers that went in, not from the bytes.
namespace nibble_test {

/// A part of a weight, as it is stored.
using scheme_tensor = hub_tensor;

/// A folder with config.json, unless that is empty, and one file of tensors.
class scheme_checkpoint {
 public:
  scheme_checkpoint(std::string_view quantization_config, const std::vector<scheme_tensor>& tensors) {
    if (!quantization_config.empty()) {
      write_text(
          folder_ / "config.json",
          fmt::format(R"({{"model_type":"llama","quantization_config":{}}})", quantization_config));
    }
    write_hub_tensors(folder_ / "model.safetensors", tensors);
  }

  [[nodiscard]] std::string path() const { return folder_.path().string(); }
  [[nodiscard]] nibble::checkpoint open() const { return nibble::checkpoint(path()); }
  /// What opening it ends with.
  [[nodiscard]] outcome opened() const {
    return outcome_of([&] { static_cast<void>(open()); });
  }
  /// "name[dtype,shape] ..." of what is listed.
  [[nodiscard]] std::string listing() const {
    std::string text;
    for (const nibble::tensor_view& tensor : open()) {
      text += fmt::format("{}{}[{},{}]", text.empty() ? "" : " ", tensor.name(), tensor.dtype_text(),
                          tensor.shape().to_string());
    }
    return text;
  }

 private:
  temporary_directory folder_;
};

/// All values of a composed weight, decoded in parts of so many rows.
[[nodiscard]] inline std::vector<float> decoded_in_parts(const nibble::tensor_view& tensor,
                                                         std::uint64_t part_rows) {
  std::vector<float> values(static_cast<std::size_t>(tensor.elements()));
  for (std::uint64_t row = 0; row < tensor.rows(); row += part_rows) {
    const std::uint64_t rows = std::min(part_rows, tensor.rows() - row);
    tensor.composed()->decode_rows(
        row, rows,
        std::span(values).subspan(static_cast<std::size_t>(row * tensor.cols()),
                                  static_cast<std::size_t>(rows * tensor.cols())));
  }
  return values;
}

/// How many values of two lists differ in a bit; NaN equals NaN.
[[nodiscard]] inline std::size_t count_differences(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) return std::max(a.size(), b.size());
  std::size_t differences = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const bool are_nan = std::isnan(a[i]) && std::isnan(b[i]);
    const bool are_equal = std::bit_cast<std::uint32_t>(a[i]) == std::bit_cast<std::uint32_t>(b[i]);
    differences += are_nan || are_equal ? 0U : 1U;
  }
  return differences;
}

/// Checks that the tensor of that name is composed and has the values, however many rows are decoded at once.
inline void check_composed(const scheme_checkpoint& checkpoint, std::string_view name,
                           const std::vector<std::uint64_t>& shape,
                           const std::vector<float>& expected) {
  const nibble::checkpoint in = checkpoint.open();
  const nibble::tensor_view* const tensor = in.find(name);
  REQUIRE(tensor != nullptr);
  REQUIRE(tensor->composed() != nullptr);
  REQUIRE(tensor->shape() == nibble::shape(std::span<const std::uint64_t>(shape)));
  CHECK_FALSE(tensor->has_encoding());
  CHECK(tensor->bytes().empty());
  for (const std::uint64_t part_rows :
       {std::uint64_t{1}, std::uint64_t{3}, std::uint64_t{17}, tensor->rows()}) {
    CAPTURE(part_rows);
    CHECK(count_differences(decoded_in_parts(*tensor, part_rows), expected) == 0);
  }
  CHECK_FALSE(in.metadata().contains("quantization_config"));
}

template <class Number>
[[nodiscard]] std::vector<std::byte> bytes_of_numbers(const std::vector<Number>& numbers) {
  std::vector<std::byte> bytes;
  for (const Number number : numbers) {
    if constexpr (std::is_same_v<Number, float>) {
      append_number(bytes, std::bit_cast<std::uint32_t>(number));
    } else {
      append_number(bytes, number);
    }
  }
  return bytes;
}

/// Whole numbers below `end`.
[[nodiscard]] inline std::vector<std::uint32_t> random_codes(std::size_t count, std::uint32_t end,
                                                             std::uint32_t seed) {
  std::mt19937 generator(seed);
  std::vector<std::uint32_t> codes(count);
  for (std::uint32_t& code : codes) code = static_cast<std::uint32_t>(generator() % end);
  return codes;
}

/// Scales that f16 holds, as f16 and as numbers.
struct half_scales {
  std::vector<std::byte> bytes{};
  std::vector<double> values{};

  half_scales(std::size_t count, std::uint32_t seed) {
    std::mt19937 generator(seed);
    for (std::size_t i = 0; i < count; ++i) {
      // A normal f16 of exponent -10 to -5, of any mantissa.
      const auto exponent = static_cast<std::uint32_t>(generator() % 6U) + 5U;
      const auto mantissa = static_cast<std::uint32_t>(generator() % 1024U);
      append_number(bytes, static_cast<std::uint16_t>(exponent << 10U | mantissa));
      values.push_back(std::ldexp(1024.0 + mantissa, static_cast<int>(exponent) - 25));
    }
  }
};

/// Codes as a stream of bits in words of 32, from the lowest bit up.
[[nodiscard]] inline std::vector<std::uint32_t> packed_words(const std::vector<std::uint32_t>& codes,
                                                             unsigned bits) {
  std::vector<std::uint32_t> words((codes.size() * bits + 31) / 32);
  for (std::size_t i = 0; i < codes.size() * bits; ++i) {
    const std::uint32_t bit = codes[i / bits] >> (i % bits) & 1U;
    words[i / 32] |= bit << (i % 32);
  }
  return words;
}

/// Rows and columns exchanged.
template <class Number>
[[nodiscard]] std::vector<Number> transposed(const std::vector<Number>& from, std::size_t rows) {
  const std::size_t cols = from.size() / rows;
  std::vector<Number> to;
  for (std::size_t col = 0; col < cols; ++col) {
    for (std::size_t row = 0; row < rows; ++row) to.push_back(from[row * cols + col]);
  }
  return to;
}

}  // namespace nibble_test

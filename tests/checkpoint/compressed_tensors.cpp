#include <nibble/checkpoint/compressed_tensors.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "scheme_checkpoint.hpp"

using nibble_test::bytes_of_numbers;
using nibble_test::check_composed;
using nibble_test::half_scales;
using nibble_test::missing_parts;
using nibble_test::outcome;
using nibble_test::packed_words;
using nibble_test::random_codes;
using nibble_test::scheme_checkpoint;
using nibble_test::scheme_tensor;

namespace {

std::string ct_config(const std::string& format, const std::string& weights, const char* more = "") {
  return fmt::format(
      R"({{"quant_method":"compressed-tensors","format":"{}"{},"config_groups":{{"W":{{"targets":["Linear"],"weights":{{{}}}}}}}}})",
      format, more, weights);
}

/// A weight of whole numbers with a scale and a zero point a row and group.
struct integer_weight {
  std::size_t rows;
  std::size_t cols;
  unsigned bits;
  std::vector<std::uint32_t> group_of;  ///< each column
  std::size_t groups;
  std::vector<std::uint32_t> codes;  ///< counted from the least
  std::vector<std::uint32_t> zeros;  ///< likewise
  half_scales scales;

  integer_weight(std::size_t row_count, std::size_t col_count, unsigned bit_count, std::size_t group)
      : rows(row_count),
        cols(col_count),
        bits(bit_count),
        groups((cols + group - 1) / group),
        codes(random_codes(rows * cols, 1U << bits, bits)),
        zeros(random_codes(rows * groups, 1U << bits, bits + 1)),
        scales(rows * groups, bits + 2) {
    for (std::size_t col = 0; col < cols; ++col)
      group_of.push_back(static_cast<std::uint32_t>(col / group));
  }
  void make_symmetric() { std::fill(zeros.begin(), zeros.end(), 1U << (bits - 1)); }
  [[nodiscard]] std::vector<float> expected() const {
    std::vector<float> values;
    for (std::size_t row = 0; row < rows; ++row) {
      for (std::size_t col = 0; col < cols; ++col) {
        const std::size_t at = row * groups + group_of[col];
        const double code = static_cast<double>(codes[row * cols + col]) - zeros[at];
        values.push_back(static_cast<float>(scales.values[at] * code));
      }
    }
    return values;
  }
  [[nodiscard]] scheme_tensor scale_part() const {
    return {"l.weight_scale", "F16", {rows, groups}, scales.bytes};
  }
  [[nodiscard]] std::vector<scheme_tensor> packed_parts() const {
    std::vector<std::uint32_t> words;
    for (std::size_t row = 0; row < rows; ++row) {
      const auto first = codes.begin() + static_cast<std::ptrdiff_t>(row * cols);
      const auto packed = packed_words({first, first + static_cast<std::ptrdiff_t>(cols)}, bits);
      words.insert(words.end(), packed.begin(), packed.end());
    }
    const std::vector<std::int64_t> sizes = {static_cast<std::int64_t>(rows),
                                             static_cast<std::int64_t>(cols)};
    return {{"l.weight_packed", "I32", {rows, words.size() / rows}, bytes_of_numbers(words)},
            {"l.weight_shape", "I64", {2}, bytes_of_numbers(sizes)},
            scale_part()};
  }
  /// Zero points packed down the rows.
  [[nodiscard]] scheme_tensor packed_zeros() const {
    const std::size_t word_rows = (rows * bits + 31) / 32;
    std::vector<std::uint32_t> words(word_rows * groups);
    for (std::size_t group = 0; group < groups; ++group) {
      std::vector<std::uint32_t> column;
      for (std::size_t row = 0; row < rows; ++row) column.push_back(zeros[row * groups + group]);
      const auto packed = packed_words(column, bits);
      for (std::size_t i = 0; i < packed.size(); ++i) words[i * groups + group] = packed[i];
    }
    return {"l.weight_zero_point", "I32", {word_rows, groups}, bytes_of_numbers(words)};
  }
  [[nodiscard]] std::vector<std::byte> signed_bytes(const std::vector<std::uint32_t>& from) const {
    std::vector<std::byte> bytes;
    for (const std::uint32_t code : from) {
      bytes.push_back(static_cast<std::byte>((code - (1U << (bits - 1))) & 255U));
    }
    return bytes;
  }
};

std::string weights_text(unsigned bits, int group, bool is_symmetric) {
  return fmt::format(R"("num_bits":{},"type":"int","strategy":"{}","group_size":{},"symmetric":{})",
                     bits, group < 0 ? "channel" : "group", group < 0 ? "null" : std::to_string(group),
                     is_symmetric);
}

TEST_CASE("packed codes of every width, symmetric and not, by groups and by rows",
          "[compressed_tensors]") {
  for (const unsigned bits : {2U, 3U, 4U, 8U}) {
    for (const int group : {32, -1}) {
      CAPTURE(bits, group);
      integer_weight weight(40, 96, bits, group < 0 ? 96 : 32);
      std::vector<scheme_tensor> parts = weight.packed_parts();
      parts.push_back(weight.packed_zeros());
      check_composed({ct_config("pack-quantized", weights_text(bits, group, false)), parts}, "l.weight",
                     {40, 96}, weight.expected());
      // Older files have zero points as bytes.
      parts.back() = {
          "l.weight_zero_point", "I8", {40, weight.groups}, weight.signed_bytes(weight.zeros)};
      check_composed({ct_config("pack-quantized", weights_text(bits, group, false)), parts}, "l.weight",
                     {40, 96}, weight.expected());
      weight.make_symmetric();
      check_composed(
          {ct_config("pack-quantized", weights_text(bits, group, true)), weight.packed_parts()},
          "l.weight", {40, 96}, weight.expected());
    }
  }
}

TEST_CASE("columns that were put in order have the group of their index", "[compressed_tensors]") {
  integer_weight weight(24, 96, 4, 32);
  std::shuffle(weight.group_of.begin(), weight.group_of.end(), std::mt19937(3));
  weight.make_symmetric();
  std::vector<scheme_tensor> parts = weight.packed_parts();
  parts.push_back({"l.weight_g_idx", "I32", {96}, bytes_of_numbers(weight.group_of)});
  const std::string config = ct_config("pack-quantized", weights_text(4, 32, true));
  check_composed({config, parts}, "l.weight", {24, 96}, weight.expected());
  nibble_test::put_number(parts.back().bytes, 0, std::uint32_t{3});
  CHECK(scheme_checkpoint(config, parts).opened().code == "bad_scheme");
}

TEST_CASE("codes in bytes, with zero points and without", "[compressed_tensors]") {
  integer_weight weight(24, 40, 8, 40);
  const auto parts_of = [&] {
    return std::vector<scheme_tensor>{{"l.weight", "I8", {24, 40}, weight.signed_bytes(weight.codes)},
                                      weight.scale_part()};
  };
  std::vector<scheme_tensor> parts = parts_of();
  parts.push_back({"l.weight_zero_point", "I8", {24, 1}, weight.signed_bytes(weight.zeros)});
  check_composed({ct_config("int-quantized", weights_text(8, -1, false)), parts}, "l.weight", {24, 40},
                 weight.expected());
  CHECK(missing_parts(
            scheme_checkpoint(ct_config("int-quantized", weights_text(8, -1, false)), parts_of())
                .opened()
                .message,
            {"bad_scheme", "l.weight_zero_point"})
            .empty());
  weight.make_symmetric();
  check_composed({ct_config("int-quantized", weights_text(8, -1, true)), parts_of()}, "l.weight",
                 {24, 40}, weight.expected());
  // An activation's scheme beside it, and what belongs to that.
  std::vector<scheme_tensor> with_inputs = parts_of();
  with_inputs.push_back({"l.input_scale", "F32", {1}, bytes_of_numbers(std::vector<float>{0.5F})});
  with_inputs.push_back({"l.input_zero_point", "I8", {1}, {std::byte{3}}});
  const scheme_checkpoint checkpoint(ct_config("int-quantized", weights_text(8, -1, true)),
                                     with_inputs);
  check_composed(checkpoint, "l.weight", {24, 40}, weight.expected());
  CHECK(checkpoint.listing() == "l.weight[compressed-tensors,24x40]");
  CHECK(checkpoint.open().notes().size() == 2);
}

TEST_CASE("8-bit floats in blocks, as either version of the config spells them",
          "[compressed_tensors]") {
  std::vector<std::byte> codes;
  for (std::size_t i = 0; i < 24 * 40; ++i) codes.push_back(static_cast<std::byte>(i % 120));
  std::vector<float> scales;
  for (std::size_t i = 0; i < 6; ++i) scales.push_back(0.5F + 0.3F * static_cast<float>(i));
  std::vector<float> expected;
  for (std::size_t i = 0; i < codes.size(); ++i) {
    const auto code = std::to_integer<unsigned>(codes[i]);
    const double magnitude =
        code < 8 ? std::ldexp(code / 8.0, -6)
                 : std::ldexp(1.0 + (code & 7U) / 8.0, static_cast<int>(code >> 3U) - 7);
    expected.push_back(static_cast<float>(magnitude * double{scales[i / 40 / 16 * 3 + i % 40 / 16]}));
  }
  for (const char* const structure : {R"("16x16")", "[16,16]"}) {
    const std::string weights = fmt::format(
        R"("num_bits":8,"type":"float","strategy":"block","block_structure":{})", structure);
    check_composed({ct_config("float-quantized", weights),
                    {{"l.weight", "F8_E4M3", {24, 40}, codes},
                     {"l.weight_scale", "F32", {2, 3}, bytes_of_numbers(scales)}}},
                   "l.weight", {24, 40}, expected);
  }
  CHECK(scheme_checkpoint(
            ct_config("float-quantized", R"("num_bits":8,"type":"float","block_structure":[0,1])"),
            {{"l.weight", "F8_E4M3", {24, 40}, codes}})
            .opened()
            .code == "bad_metadata");
}

TEST_CASE("what compressed-tensors says and holds has to fit", "[compressed_tensors]") {
  const integer_weight weight(24, 96, 4, 32);
  const outcome width =
      scheme_checkpoint(ct_config("pack-quantized", weights_text(8, 32, true)), weight.packed_parts())
          .opened();
  CHECK(missing_parts(width.message, {"bad_scheme", "l.weight_packed", "24x12", "24x24", "24x96"})
            .empty());
  const outcome groups =
      scheme_checkpoint(ct_config("pack-quantized", weights_text(4, 48, true)), weight.packed_parts())
          .opened();
  CHECK(missing_parts(groups.message, {"bad_scheme", "24x3", "24x2"}).empty());
  for (const std::size_t missing : {std::size_t{1}, std::size_t{2}}) {
    std::vector<scheme_tensor> parts = weight.packed_parts();
    const std::string name = parts[missing].name;
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(missing));
    const outcome result =
        scheme_checkpoint(ct_config("pack-quantized", weights_text(4, 32, true)), parts).opened();
    CHECK(missing_parts(result.message, {"bad_scheme", name}).empty());
  }
  const outcome format =
      scheme_checkpoint(ct_config("marlin-24", weights_text(4, 32, true)), weight.packed_parts())
          .opened();
  CHECK(missing_parts(format.message, {"unsupported_feature", "marlin-24"}).empty());
  const outcome sparse =
      scheme_checkpoint(ct_config("pack-quantized", weights_text(4, 32, true),
                                  R"(,"sparsity_config":{"format":"sparse-24-bitmask"})"),
                        weight.packed_parts())
          .opened();
  CHECK(missing_parts(sparse.message, {"unsupported_feature", "sparse-24-bitmask"}).empty());
}

}  // namespace

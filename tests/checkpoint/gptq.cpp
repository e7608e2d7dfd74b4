#include <nibble/checkpoint/gptq.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
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
using nibble_test::transposed;

namespace {

/// A GPTQ weight in numbers: what its parts hold, and what it decodes to.
struct gptq_weight {
  std::size_t inputs;
  std::size_t outputs;
  unsigned bits;
  std::vector<std::uint32_t> group_of;  ///< each input
  std::vector<std::uint32_t> codes;     ///< [inputs, outputs]
  std::vector<std::uint32_t> zeros;     ///< [groups, outputs]
  half_scales scales;                   ///< [groups, outputs]

  gptq_weight(std::size_t input_count, std::size_t output_count, unsigned bit_count,
              std::vector<std::uint32_t> groups, std::uint32_t seed)
      : inputs(input_count),
        outputs(output_count),
        bits(bit_count),
        group_of(std::move(groups)),
        codes(random_codes(inputs * outputs, 1U << bits, seed)),
        zeros(random_codes(group_count() * outputs, 1U << bits, seed + 1)),
        scales(group_count() * outputs, seed + 2) {}

  [[nodiscard]] std::size_t group_count() const {
    return 1 + *std::max_element(group_of.begin(), group_of.end());
  }
  [[nodiscard]] std::vector<float> expected() const {
    std::vector<float> values;
    for (std::size_t output = 0; output < outputs; ++output) {
      for (std::size_t input = 0; input < inputs; ++input) {
        const std::size_t at = group_of[input] * outputs + output;
        const double code = static_cast<double>(codes[input * outputs + output]) - zeros[at];
        values.push_back(static_cast<float>(scales.values[at] * code));
      }
    }
    return values;
  }
  /// Parts of "l", zero points stored as less by `less`.
  [[nodiscard]] std::vector<scheme_tensor> parts(std::uint32_t less, bool has_order = true) const {
    std::vector<std::uint32_t> words(inputs * bits / 32 * outputs);
    for (std::size_t output = 0; output < outputs; ++output) {
      std::vector<std::uint32_t> column;
      for (std::size_t input = 0; input < inputs; ++input)
        column.push_back(codes[input * outputs + output]);
      const auto packed = packed_words(column, bits);
      for (std::size_t i = 0; i < packed.size(); ++i) words[i * outputs + output] = packed[i];
    }
    std::vector<std::uint32_t> zero_words;
    for (std::size_t group = 0; group < group_count(); ++group) {
      std::vector<std::uint32_t> row;
      for (std::size_t output = 0; output < outputs; ++output) {
        row.push_back((zeros[group * outputs + output] - less) & ((1U << bits) - 1U));
      }
      for (const std::uint32_t word : packed_words(row, bits)) zero_words.push_back(word);
    }
    std::vector<scheme_tensor> tensors = {
        {"l.qweight", "I32", {inputs * bits / 32, outputs}, bytes_of_numbers(words)},
        {"l.qzeros",
         "I32",
         {group_count(), zero_words.size() / group_count()},
         bytes_of_numbers(zero_words)},
        {"l.scales", "F16", {group_count(), outputs}, scales.bytes}};
    if (has_order) tensors.push_back({"l.g_idx", "I32", {inputs}, bytes_of_numbers(group_of)});
    return tensors;
  }
};

std::vector<std::uint32_t> groups_in_turn(std::size_t inputs, std::size_t size) {
  std::vector<std::uint32_t> groups;
  for (std::size_t i = 0; i < inputs; ++i) groups.push_back(static_cast<std::uint32_t>(i / size));
  return groups;
}

std::string gptq_config(unsigned bits, int group_size, const char* more = "") {
  return fmt::format(R"({{"quant_method":"gptq","bits":{},"group_size":{}{}}})", bits, group_size,
                     more);
}

TEST_CASE("gptq of 2, 3, 4 and 8 bits, by either convention of zero points", "[gptq]") {
  for (const unsigned bits : {2U, 3U, 4U, 8U}) {
    CAPTURE(bits);
    const gptq_weight weight(96, 64, bits, groups_in_turn(96, 32), bits);
    // A stored zero point of all bits set stands for 0 in the first format.
    CHECK(std::count(weight.zeros.begin(), weight.zeros.end(), 0U) != 0);
    check_composed({gptq_config(bits, 32), weight.parts(1)}, "l.weight", {64, 96}, weight.expected());
    check_composed({gptq_config(bits, 32), weight.parts(1, false)}, "l.weight", {64, 96},
                   weight.expected());
    check_composed({gptq_config(bits, 32, R"(,"checkpoint_format":"gptq_v2")"), weight.parts(0)},
                   "l.weight", {64, 96}, weight.expected());
  }
}

TEST_CASE("gptq in the order of activations: any input may be of any group", "[gptq]") {
  std::vector<std::uint32_t> groups = groups_in_turn(128, 32);
  std::shuffle(groups.begin(), groups.end(), std::mt19937(5));
  const gptq_weight weight(128, 40, 4, groups, 6);
  check_composed({gptq_config(4, 32, R"(,"desc_act":true)"), weight.parts(1)}, "l.weight", {40, 128},
                 weight.expected());
}

TEST_CASE("one group for all inputs", "[gptq]") {
  const gptq_weight weight(64, 24, 4, groups_in_turn(64, 64), 7);
  check_composed({gptq_config(4, -1), weight.parts(1)}, "l.weight", {24, 64}, weight.expected());
}

TEST_CASE("symmetric zero points show their convention, whatever the format is called", "[gptq]") {
  gptq_weight weight(64, 24, 4, groups_in_turn(64, 32), 8);
  std::fill(weight.zeros.begin(), weight.zeros.end(), 8U);
  for (const char* const format : {"gptq", "gptq_v2"}) {
    for (const std::uint32_t less : {0U, 1U}) {
      const std::string more = fmt::format(R"(,"sym":true,"checkpoint_format":"{}")", format);
      check_composed({gptq_config(4, 32, more.c_str()), weight.parts(less)}, "l.weight", {24, 64},
                     weight.expected());
    }
  }
  // Without that word nothing is settled by the numbers.
  gptq_weight nine = weight;
  std::fill(nine.zeros.begin(), nine.zeros.end(), 9U);
  check_composed({gptq_config(4, 32), weight.parts(0)}, "l.weight", {24, 64}, nine.expected());
}

TEST_CASE("parts of gptq that do not fit are refused by name", "[gptq]") {
  const gptq_weight weight(64, 24, 4, groups_in_turn(64, 32), 9);
  const auto opened = [&](const std::string& config, std::vector<scheme_tensor> parts) {
    return scheme_checkpoint(config, parts).opened();
  };
  for (const std::size_t missing : {std::size_t{1}, std::size_t{2}}) {
    std::vector<scheme_tensor> parts = weight.parts(1);
    const std::string name = parts[missing].name;
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(missing));
    const outcome result = opened(gptq_config(4, 32), parts);
    CHECK(result.code == "bad_scheme");
    CHECK(missing_parts(result.message, {name, "l.weight"}).empty());
  }
  const outcome groups = opened(gptq_config(4, 16), weight.parts(1));
  CHECK(missing_parts(groups.message, {"bad_scheme", "l.qzeros", "2x3", "4x3"}).empty());
  CHECK(opened(gptq_config(8, 32), weight.parts(1)).code == "bad_scheme");
  CHECK(opened(gptq_config(5, 32), weight.parts(1)).code == "bad_metadata");
  std::vector<scheme_tensor> parts = weight.parts(1);
  nibble_test::put_number(parts[3].bytes, 4 * 17, std::uint32_t{2});
  const outcome beyond = opened(gptq_config(4, 32), parts);
  CHECK(missing_parts(beyond.message, {"bad_scheme", "l.g_idx", "group 2 of input 17"}).empty());
  CHECK(opened(gptq_config(4, 32, R"(,"checkpoint_format":"marlin")"), weight.parts(1)).code ==
        "unsupported_feature");
  // Codes without a configuration are no weights.
  CHECK(opened("", weight.parts(1)).code == "bad_scheme");
}

TEST_CASE("what GPTQ's programs wrote beside config.json counts where that says nothing", "[gptq]") {
  const gptq_weight weight(64, 24, 4, groups_in_turn(64, 32), 10);
  const scheme_checkpoint checkpoint("", weight.parts(1));
  nibble_test::write_text(std::filesystem::path(checkpoint.path()) / "quantize_config.json",
                          R"({"bits":4,"group_size":32,"desc_act":false,"sym":false})");
  check_composed(checkpoint, "l.weight", {24, 64}, weight.expected());
}

}  // namespace

#include <nibble/checkpoint/awq.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "scheme_checkpoint.hpp"

using nibble_test::bytes_of_numbers;
using nibble_test::check_composed;
using nibble_test::half_scales;
using nibble_test::missing_parts;
using nibble_test::outcome;
using nibble_test::random_codes;
using nibble_test::scheme_checkpoint;
using nibble_test::scheme_tensor;

namespace {

constexpr std::size_t awq_inputs = 96;
constexpr std::size_t awq_outputs = 40;
constexpr std::size_t awq_group = 32;

/// Eight awq_outputs a word, in the order of AutoAWQ's AWQ_ORDER.
std::vector<std::uint32_t> awq_words(const std::vector<std::uint32_t>& codes) {
  constexpr std::array<std::size_t, 8> order = {0, 2, 4, 6, 1, 3, 5, 7};
  std::vector<std::uint32_t> words;
  for (std::size_t first = 0; first < codes.size(); first += 8) {
    std::uint32_t word = 0;
    for (std::size_t i = 8; i-- != 0;) word = word << 4U | codes[first + order[i]];
    words.push_back(word);
  }
  return words;
}

struct awq_weight {
  std::vector<std::uint32_t> codes = random_codes(awq_inputs * awq_outputs, 16, 1);
  std::vector<std::uint32_t> zeros = random_codes(awq_inputs / awq_group * awq_outputs, 16, 2);
  half_scales scales{awq_inputs / awq_group * awq_outputs, 3};

  [[nodiscard]] std::vector<float> expected() const {
    std::vector<float> values;
    for (std::size_t output = 0; output < awq_outputs; ++output) {
      for (std::size_t input = 0; input < awq_inputs; ++input) {
        const std::size_t at = input / awq_group * awq_outputs + output;
        values.push_back(
            static_cast<float>(scales.values[at] *
                               (static_cast<double>(codes[input * awq_outputs + output]) - zeros[at])));
      }
    }
    return values;
  }
  [[nodiscard]] std::vector<scheme_tensor> parts() const {
    return {{"l.qweight", "I32", {awq_inputs, awq_outputs / 8}, bytes_of_numbers(awq_words(codes))},
            {"l.qzeros",
             "I32",
             {awq_inputs / awq_group, awq_outputs / 8},
             bytes_of_numbers(awq_words(zeros))},
            {"l.scales", "F16", {awq_inputs / awq_group, awq_outputs}, scales.bytes}};
  }
};

TEST_CASE("awq in its order of nibbles", "[awq]") {
  const awq_weight weight;
  for (const char* const config :
       {R"({"quant_method":"awq","bits":4,"group_size":32,"zero_point":true,"version":"gemm"})",
        R"({"quant_method":"awq","w_bit":4,"q_group_size":32,"version":"GEMM"})"}) {
    check_composed({config, weight.parts()}, "l.weight", {awq_outputs, awq_inputs}, weight.expected());
  }
  const scheme_checkpoint old("", weight.parts());
  nibble_test::write_text(std::filesystem::path(old.path()) / "quant_config.json",
                          R"({"zero_point":true,"q_group_size":32,"w_bit":4,"version":"GEMM"})");
  check_composed(old, "l.weight", {awq_outputs, awq_inputs}, weight.expected());
}

TEST_CASE("awq of another layout, without a part or with one of another shape is refused", "[awq]") {
  const awq_weight weight;
  const char* const config = R"({"quant_method":"awq","bits":4,"group_size":32})";
  std::vector<scheme_tensor> parts = weight.parts();
  parts.pop_back();
  const outcome missing = scheme_checkpoint(config, parts).opened();
  CHECK(missing_parts(missing.message, {"bad_scheme", "l.weight", "l.scales"}).empty());
  const outcome groups =
      scheme_checkpoint(R"({"quant_method":"awq","bits":4,"group_size":48})", weight.parts()).opened();
  CHECK(missing_parts(groups.message, {"bad_scheme", "3x5", "2x5"}).empty());
  CHECK(scheme_checkpoint(R"({"quant_method":"awq","bits":8,"group_size":32})", weight.parts())
            .opened()
            .code == "bad_metadata");
  const outcome other =
      scheme_checkpoint(R"({"quant_method":"awq","bits":4,"group_size":32,"version":"gemv"})",
                        weight.parts())
          .opened();
  CHECK(missing_parts(other.message, {"unsupported_feature", "gemv"}).empty());
}

}  // namespace

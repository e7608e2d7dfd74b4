#include <nibble/checkpoint/nvfp4_weights.hpp>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "scheme_checkpoint.hpp"

using nibble_test::bytes_of_numbers;
using nibble_test::check_composed;
using nibble_test::missing_parts;
using nibble_test::outcome;
using nibble_test::scheme_checkpoint;
using nibble_test::scheme_tensor;

namespace {

constexpr const char* nvfp4_config =
    R"({"quant_method":"modelopt","quant_algo":"NVFP4","group_size":16})";
constexpr const char* packed_nvfp4_config =
    R"({"quant_method":"compressed-tensors","format":"nvfp4-pack-quantized","config_groups":{"g":{"weights":
        {"num_bits":4,"type":"float","strategy":"tensor_group","group_size":16}}}})";

/// 16 rows of 8 groups: scales are all positive codes of E4M3 that are numbers.
struct nvfp4_weight {
  std::vector<std::byte> codes = nibble_test::random_bytes(std::size_t{16} * 64, 2);
  std::vector<std::byte> scales{};
  float second = 0.0123F;

  nvfp4_weight() {
    for (unsigned i = 0; i < 128; ++i) scales.push_back(static_cast<std::byte>(i % 127));
  }
  template <class Combine>
  [[nodiscard]] std::vector<float> expected(const Combine& combine) const {
    constexpr double values_of_nibbles[] = {0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0};
    std::vector<float> values;
    for (std::size_t i = 0; i < 2 * codes.size(); ++i) {
      const unsigned nibble = std::to_integer<unsigned>(codes[i / 2]) >> (4 * (i % 2)) & 15U;
      const auto code = std::to_integer<unsigned>(scales[i / 16]);
      const double scale = code < 8
                               ? std::ldexp(code / 8.0, -6)
                               : std::ldexp(1.0 + (code & 7U) / 8.0, static_cast<int>(code >> 3U) - 7);
      const double magnitude = values_of_nibbles[nibble % 8];
      const auto combined = static_cast<float>(combine(scale, double{second}));
      values.push_back(static_cast<float>((nibble >= 8 ? -magnitude : magnitude) * double{combined}));
    }
    return values;
  }
  [[nodiscard]] std::vector<scheme_tensor> parts(const std::string& name, const std::string& codes_name,
                                                 const std::string& second_name) const {
    return {{codes_name, "U8", {16, 64}, codes},
            {name + "_scale", "F8_E4M3", {16, 8}, scales},
            {second_name, "F32", {1}, bytes_of_numbers(std::vector<float>{second})}};
  }
};

TEST_CASE("nvfp4 with a second scale that multiplies", "[nvfp4_weights]") {
  const nvfp4_weight weight;
  const auto expected = weight.expected([](double scale, double second) { return scale * second; });
  check_composed({nvfp4_config, weight.parts("l.weight", "l.weight", "l.weight_scale_2")}, "l.weight",
                 {16, 128}, expected);
  check_composed({R"({"quant_algo":"NVFP4"})", weight.parts("e.up", "e.up", "e.up_scale_2")}, "e.up",
                 {16, 128}, expected);
}

TEST_CASE("nvfp4 of compressed-tensors with a second scale that divides", "[nvfp4_weights]") {
  nvfp4_weight weight;
  weight.second = 1234.5F;
  check_composed(
      {packed_nvfp4_config, weight.parts("l.weight", "l.weight_packed", "l.weight_global_scale")},
      "l.weight", {16, 128},
      weight.expected([](double scale, double second) { return scale / second; }));
}

TEST_CASE("mxfp4 of compressed-tensors", "[nvfp4_weights]") {
  const nvfp4_weight weight;
  std::vector<std::byte> exponents(64);
  for (std::size_t i = 0; i < exponents.size(); ++i) exponents[i] = static_cast<std::byte>(100 + i);
  std::vector<float> expected;
  constexpr double values_of_nibbles[] = {0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0};
  for (std::size_t i = 0; i < 2048; ++i) {
    const unsigned nibble = std::to_integer<unsigned>(weight.codes[i / 2]) >> (4 * (i % 2)) & 15U;
    const double magnitude = std::ldexp(values_of_nibbles[nibble % 8], static_cast<int>(i / 32) - 27);
    expected.push_back(static_cast<float>(nibble >= 8 ? -magnitude : magnitude));
  }
  check_composed(
      {R"({"quant_method":"compressed-tensors","format":"mxfp4-pack-quantized","config_groups":
                     {"g":{"weights":{"num_bits":4,"type":"float","group_size":32}}}})",
       {{"l.weight_packed", "U8", {16, 64}, weight.codes},
        {"l.weight_scale", "U8", {16, 4}, exponents}}},
      "l.weight", {16, 128}, expected);
}

TEST_CASE("nvfp4 without a scale or with one of another shape is refused", "[nvfp4_weights]") {
  const nvfp4_weight weight;
  for (const std::size_t missing : {std::size_t{1}, std::size_t{2}}) {
    std::vector<scheme_tensor> parts = weight.parts("l.weight", "l.weight", "l.weight_scale_2");
    const std::string name = parts[missing].name;
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(missing));
    const outcome result = scheme_checkpoint(nvfp4_config, parts).opened();
    CHECK(missing_parts(result.message, {"bad_scheme", name}).empty());
  }
  const outcome groups =
      scheme_checkpoint(R"({"quant_method":"modelopt","quant_algo":"NVFP4","group_size":32})",
                        weight.parts("l.weight", "l.weight", "l.weight_scale_2"))
          .opened();
  CHECK(missing_parts(groups.message, {"bad_scheme", "16x8", "16x128", "16x4"}).empty());
  const scheme_checkpoint packed(packed_nvfp4_config,
                                 {weight.parts("l.weight", "l.weight_packed", "x")[0],
                                  weight.parts("l.weight", "l.weight_packed", "x")[1]});
  CHECK(missing_parts(packed.opened().message, {"bad_scheme", "l.weight_global_scale"}).empty());
}

}  // namespace

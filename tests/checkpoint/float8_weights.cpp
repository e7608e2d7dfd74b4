#include <nibble/checkpoint/float8_weights.hpp>

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

constexpr const char* fp8_config = R"({"quant_method":"fp8","activation_scheme":"dynamic"})";

/// Each code's value, from the definition of E4M3 with the largest magnitude NaN.
double e4m3(unsigned code) {
  const int exponent = static_cast<int>(code >> 3U) & 15;
  const double fraction = (code & 7U) / 8.0;
  const double magnitude =
      exponent == 0 ? std::ldexp(fraction, -6) : std::ldexp(1.0 + fraction, exponent - 7);
  if ((code & 127U) == 127U) return std::nan("");
  return code >= 128 ? -magnitude : magnitude;
}

/// A weight in which every code is, more than once.
struct coded_weight {
  std::uint64_t rows;
  std::uint64_t cols;
  std::vector<std::byte> bytes{};

  coded_weight(std::uint64_t row_count, std::uint64_t col_count) : rows(row_count), cols(col_count) {
    for (std::uint64_t i = 0; i < rows * cols; ++i)
      bytes.push_back(static_cast<std::byte>(i * 37 % 256));
  }
  [[nodiscard]] scheme_tensor tensor(std::string name = "l.weight",
                                     std::string dtype = "F8_E4M3") const {
    return {std::move(name), std::move(dtype), {rows, cols}, bytes};
  }
  template <class ScaleOf>
  [[nodiscard]] std::vector<float> times(const ScaleOf& scale_of) const {
    std::vector<float> values;
    for (std::uint64_t i = 0; i < rows * cols; ++i) {
      const auto code = std::to_integer<unsigned>(bytes[static_cast<std::size_t>(i)]);
      values.push_back(static_cast<float>(e4m3(code) * double{scale_of(i / cols, i % cols)}));
    }
    return values;
  }
};

std::vector<float> scales_of(std::size_t count) {
  std::vector<float> scales;
  for (std::size_t i = 0; i < count; ++i) scales.push_back(0.00137F + 0.00011F * static_cast<float>(i));
  return scales;
}

TEST_CASE("fp8 with one scale, whatever its shape, its name and its dtype", "[float8_weights]") {
  const coded_weight weight(24, 40);
  const std::vector<float> expected = weight.times([](auto, auto) { return 0.25F; });
  const auto f32 = bytes_of_numbers(std::vector<float>{0.25F});
  for (const std::vector<std::uint64_t>& shape : {std::vector<std::uint64_t>{}, {1}, {1, 1}}) {
    for (const char* const name :
         {"l.weight_scale", "l.weight_scale_inv", "l.scale_weight", "l.scale"}) {
      check_composed({fp8_config, {weight.tensor(), {name, "F32", shape, f32}}}, "l.weight", {24, 40},
                     expected);
    }
  }
  const auto bf16 = bytes_of_numbers(std::vector<std::uint16_t>{0x3E80});
  check_composed({fp8_config, {{"l.weight_scale", "BF16", {1}, bf16}, weight.tensor()}}, "l.weight",
                 {24, 40}, expected);
  const auto f16 = bytes_of_numbers(std::vector<std::uint16_t>{0x3400});
  check_composed({fp8_config, {{"l.weight_scale", "F16", {1}, f16}, weight.tensor()}}, "l.weight",
                 {24, 40}, expected);
  const auto e8m0 = bytes_of_numbers(std::vector<std::uint8_t>{125});
  for (const char* const dtype : {"F8_E8M0", "U8"}) {
    check_composed({fp8_config, {{"l.weight_scale", dtype, {1}, e8m0}, weight.tensor()}}, "l.weight",
                   {24, 40}, expected);
  }
  // Stacked experts are no ".weight".
  check_composed({fp8_config, {weight.tensor("experts.up"), {"experts.up_scale", "F32", {}, f32}}},
                 "experts.up", {24, 40}, expected);
}

TEST_CASE("fp8 with a scale a row, a block and a column", "[float8_weights]") {
  const coded_weight weight(24, 40);
  const std::vector<float> rows = scales_of(24);
  for (const std::vector<std::uint64_t>& shape : {std::vector<std::uint64_t>{24}, {24, 1}}) {
    check_composed(
        {fp8_config, {weight.tensor(), {"l.weight_scale", "F32", shape, bytes_of_numbers(rows)}}},
        "l.weight", {24, 40},
        weight.times([&](auto row, auto) { return rows[static_cast<std::size_t>(row)]; }));
  }
  const std::vector<float> cols = scales_of(40);
  check_composed(
      {fp8_config, {weight.tensor(), {"l.weight_scale", "F32", {1, 40}, bytes_of_numbers(cols)}}},
      "l.weight", {24, 40},
      weight.times([&](auto, auto col) { return cols[static_cast<std::size_t>(col)]; }));
  // Blocks that the edges cut: 24 x 40 in 16 x 12 are 2 x 4.
  const std::vector<float> blocks = scales_of(8);
  check_composed({R"({"quant_method":"fp8","weight_block_size":[16,12]})",
                  {weight.tensor(), {"l.weight_scale_inv", "F32", {2, 4}, bytes_of_numbers(blocks)}}},
                 "l.weight", {24, 40}, weight.times([&](auto row, auto col) {
                   return blocks[static_cast<std::size_t>(row / 16 * 4 + col / 12)];
                 }));
  // 128 x 128 where the name alone says blocks.
  const coded_weight wide(130, 300);
  const std::vector<float> six = scales_of(6);
  const auto of_block = [&](auto row, auto col) {
    return six[static_cast<std::size_t>(row / 128 * 3 + col / 128)];
  };
  check_composed({"", {wide.tensor(), {"l.weight_scale_inv", "F32", {2, 3}, bytes_of_numbers(six)}}},
                 "l.weight", {130, 300}, wide.times(of_block));
  check_composed({R"({"quant_algo":"FP8_PB_WO"})",
                  {wide.tensor(), {"l.weight_scale", "F32", {2, 1, 3, 1}, bytes_of_numbers(six)}}},
                 "l.weight", {130, 300}, wide.times(of_block));
}

TEST_CASE("fp8 of experts: matrices with scales of their own", "[float8_weights]") {
  // Two matrices of 12 x 40, one behind the other.
  const coded_weight both(24, 40);
  const scheme_tensor stacked{"e.up", "F8_E4M3", {2, 12, 40}, both.bytes};
  const std::vector<float> two = scales_of(2);
  for (const std::vector<std::uint64_t>& shape : {std::vector<std::uint64_t>{2}, {2, 1, 1}}) {
    check_composed({fp8_config, {stacked, {"e.up_scale", "F32", shape, bytes_of_numbers(two)}}}, "e.up",
                   {2, 12, 40},
                   both.times([&](auto row, auto) { return two[static_cast<std::size_t>(row / 12)]; }));
  }
  const std::vector<float> cols = scales_of(80);
  check_composed({fp8_config, {stacked, {"e.up_scale", "F32", {2, 1, 40}, bytes_of_numbers(cols)}}},
                 "e.up", {2, 12, 40}, both.times([&](auto row, auto col) {
                   return cols[static_cast<std::size_t>(row / 12 * 40 + col)];
                 }));
  const std::vector<float> blocks = scales_of(12);
  check_composed({R"({"quant_method":"fp8","weight_block_size":[8,16]})",
                  {stacked, {"e.up_scale_inv", "F32", {2, 2, 3}, bytes_of_numbers(blocks)}}},
                 "e.up", {2, 12, 40}, both.times([&](auto row, auto col) {
                   return blocks[static_cast<std::size_t>(row / 12 * 6 + row % 12 / 8 * 3 + col / 16)];
                 }));
}

TEST_CASE("8-bit floats alone are their codes' values, all kinds", "[float8_weights]") {
  const coded_weight weight(16, 16);
  check_composed({"", {weight.tensor()}}, "l.weight", {16, 16},
                 weight.times([](auto, auto) { return 1.0F; }));
  for (const auto& [dtype, which] : {std::pair("F8_E5M2", nibble::encoding::f8_e5m2),
                                     std::pair("F8_E4M3FNUZ", nibble::encoding::f8_e4m3fnuz),
                                     std::pair("F8_E5M2FNUZ", nibble::encoding::f8_e5m2fnuz),
                                     std::pair("F8_E8M0", nibble::encoding::f8_e8m0)}) {
    std::vector<float> expected;
    for (const std::byte code : weight.bytes) {
      expected.push_back((*nibble::float8_values(which))[std::to_integer<std::size_t>(code)]);
    }
    check_composed({"", {weight.tensor("w", dtype)}}, "w", {16, 16}, expected);
  }
}

TEST_CASE("an fp8 scale that is missing or fits no rule is refused with both shapes",
          "[float8_weights]") {
  const coded_weight weight(24, 40);
  const outcome missing = scheme_checkpoint(fp8_config, {weight.tensor()}).opened();
  CHECK(missing.code == "bad_scheme");
  CHECK(missing_parts(missing.message, {"l.weight", "24x40", "weight_scale", "model.safetensors"})
            .empty());
  const auto opened_with = [&](const std::vector<std::uint64_t>& shape, std::size_t count,
                               const char* config = fp8_config) {
    return scheme_checkpoint(
               config,
               {weight.tensor(), {"l.weight_scale", "F32", shape, bytes_of_numbers(scales_of(count))}})
        .opened();
  };
  const outcome seven = opened_with({7, 1}, 7);
  CHECK(seven.code == "bad_scheme");
  CHECK(missing_parts(seven.message, {"l.weight_scale", "7x1", "24x40", "24x1"}).empty());
  CHECK(opened_with({40}, 40).code == "bad_scheme");
  CHECK(opened_with({40, 1}, 40).code == "bad_scheme");
  CHECK(opened_with({24, 40}, 960).code == "bad_scheme");
  CHECK(opened_with({2, 4}, 8).code == "bad_scheme");
  CHECK(opened_with({4, 2}, 8, R"({"quant_method":"fp8","weight_block_size":[16,12]})").code ==
        "bad_scheme");
  CHECK(opened_with({2, 4}, 8, R"({"quant_method":"fp8","weight_block_size":[16,12]})").code ==
        "taken");
  CHECK(opened_with({2, 4}, 8, R"({"quant_method":"fp8","weight_block_size":[16,0]})").code ==
        "bad_metadata");
  // One weight that has a scale shows that the other lacks its own.
  const scheme_checkpoint half("", {weight.tensor("a.weight"),
                                    {"a.weight_scale", "F32", {}, bytes_of_numbers(scales_of(1))},
                                    weight.tensor("b.weight")});
  CHECK(missing_parts(half.opened().message, {"b.weight", "bad_scheme"}).empty());
  // A mark without scales.
  const scheme_checkpoint marked("", {weight.tensor(), {"scaled_fp8", "F8_E4M3", {0}, {}}});
  CHECK(marked.opened().code == "bad_scheme");
  const outcome whole_numbers =
      scheme_checkpoint(fp8_config,
                        {weight.tensor(),
                         {"l.weight_scale", "I32", {}, bytes_of_numbers(std::vector<std::int32_t>{1})}})
          .opened();
  CHECK(missing_parts(whole_numbers.message, {"i32", "bad_scheme"}).empty());
}

}  // namespace

#include <nibble/checkpoint/element_reader.hpp>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <nibble/core/tensor_view.hpp>

#include <core/independent_halves.hpp>
#include <support/catch.hpp>
#include <support/random_values.hpp>

using nibble::element_reader;
using nibble::encoding;
using nibble::tensor_view;

TEST_CASE("elements are read one at a time, exact", "[element_reader]") {
  const auto floats = nibble_test::gaussian(33, 1);
  const tensor_view f32("f32", encoding::f32, {33}, std::as_bytes(std::span(floats)));
  const element_reader of_f32(f32);
  for (std::size_t i = 0; i < floats.size(); ++i) CHECK(of_f32[i] == floats[i]);

  std::vector<std::uint16_t> halves;
  for (std::uint32_t code = 0; code < 0x10000U; code += 97) {
    halves.push_back(static_cast<std::uint16_t>(code));
  }
  for (const auto& [which, format] : {std::pair(encoding::f16, nibble_test::binary16),
                                      std::pair(encoding::bf16, nibble_test::brain16)}) {
    const element_reader reader(
        tensor_view("h", which, {halves.size()}, std::as_bytes(std::span(halves))));
    for (std::size_t i = 0; i < halves.size(); ++i) {
      const double expected = nibble_test::value_of(format, halves[i]);
      const auto found = static_cast<double>(reader[i]);
      if (!(found == expected || (std::isnan(found) && std::isnan(expected))))
        FAIL("code " << halves[i]);
    }
  }

  std::vector<std::uint8_t> bytes(256);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::uint8_t>(i);
  const auto all = std::as_bytes(std::span(bytes));
  const element_reader of_u8(tensor_view("u8", encoding::u8, {256}, all));
  const element_reader of_i8(tensor_view("i8", encoding::i8, {256}, all));
  // Bytes that another dtype stands for.
  const element_reader as_e8m0(tensor_view("u8", encoding::u8, {256}, all), encoding::f8_e8m0);
  for (int i = 0; i < 256; ++i) {
    const auto at = static_cast<std::uint64_t>(i);
    CHECK(of_u8[at] == static_cast<float>(i));
    CHECK(of_i8[at] == static_cast<float>(i < 128 ? i : i - 256));
    if (i == 255) {
      CHECK(std::isnan(as_e8m0[at]));
    } else {
      CHECK(as_e8m0[at] == std::ldexp(1.0F, i - 127));
    }
  }
}

TEST_CASE("what can be read one at a time", "[element_reader]") {
  for (const encoding which : {encoding::f32, encoding::f16, encoding::bf16, encoding::i8, encoding::u8,
                               encoding::f8_e4m3, encoding::f8_e5m2, encoding::f8_e8m0}) {
    CHECK(element_reader::can_read(which));
  }
  for (const encoding which : {encoding::f64, encoding::i32, encoding::q4, encoding::f4}) {
    CHECK_FALSE(element_reader::can_read(which));
  }
}

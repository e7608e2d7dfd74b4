#include <nibble/compute/value_counts.hpp>

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include <codec/hex_bytes.hpp>
#include <codec/independent_decoder.hpp>
#include <support/catch.hpp>
#include <support/compiled_kernels.hpp>
#include <support/errors.hpp>
#include <support/stored_tensors.hpp>

namespace {

using nibble::encoding;
using nibble::tensor_view;
using nibble::value_counts;

void check_equal(const value_counts& found, const value_counts& expected) {
  CHECK(found.elements == expected.elements);
  CHECK(found.nan == expected.nan);
  CHECK(found.infinite == expected.infinite);
  CHECK(found.zero == expected.zero);
  CHECK(found.non_finite_scales == expected.non_finite_scales);
}

/// NaN or infinity, by the exponent that format/README.md's little-endian float16 keeps in its second
/// byte.
std::uint64_t is_special_half(std::span<const std::byte> bytes, std::size_t at) {
  return (bytes[at + 1] & std::byte{0x7C}) == std::byte{0x7C} ? 1U : 0U;
}

/// Where format/README.md and ggml's structs put a block's float16 scale and min.
struct halves_of_block {
  encoding of;
  std::size_t block_bytes;
  std::vector<std::size_t> at;
};
const std::vector<halves_of_block> stored_halves = {
    {encoding::q8, 36, {0, 2}},
    {encoding::q4, 20, {0, 2}},
    {encoding::apr_q4, 18, {0}},
    {encoding::q4_0, 18, {0}},
    {encoding::q4_1, 20, {0, 2}},
    {encoding::q5_0, 22, {0}},
    {encoding::q5_1, 24, {0, 2}},
    {encoding::q8_0, 34, {0}},
    {encoding::q2_k, 84, {80, 82}},
    {encoding::q3_k, 110, {108}},
    {encoding::q4_k, 144, {0, 2}},
    {encoding::q5_k, 176, {0, 2}},
    {encoding::q6_k, 210, {208}},
    {encoding::iq4_nl, 18, {0}},
    {encoding::iq4_xs, 136, {0}},
    {encoding::iq1_s, 50, {0}},
    {encoding::iq2_xxs, 66, {0}},
    {encoding::iq2_xs, 74, {0}},
    {encoding::iq2_s, 82, {0}},
    {encoding::iq3_xxs, 98, {0}},
    {encoding::iq3_s, 110, {0}},
    {encoding::tq1_0, 54, {52}},
    {encoding::tq2_0, 66, {64}},
    {encoding::q1_0, 18, {0}},
    {encoding::q2_0, 18, {0}},
    {encoding::q4_r8, 160, {0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30}},
    {encoding::q8_r8, 288, {0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30}},
};

value_counts counted_independently(encoding which, std::uint64_t rows, std::uint64_t cols,
                                   std::span<const std::byte> bytes) {
  value_counts census{.elements = rows * cols};
  const auto count = [&](auto value) {
    census.nan += std::isnan(value) ? 1U : 0U;
    census.infinite += std::isinf(value) ? 1U : 0U;
    census.zero += value == 0 ? 1U : 0U;
  };
  if (which == encoding::f64) {
    // As stored: a double beyond f32 is not infinite, nor one below it zero.
    for (std::size_t at = 0; at < bytes.size(); at += sizeof(double)) {
      double value = 0.0;
      std::memcpy(&value, bytes.data() + at, sizeof(value));
      count(value);
    }
  } else {
    const nibble_test::independent_decoder decoded(nibble::to_string(which), bytes, cols);
    for (const float value : decoded.rows(0, rows)) count(value);
  }
  for (const auto& [of, block_bytes, scales_at] : stored_halves) {
    if (of != which) continue;
    for (std::size_t at = 0; at < bytes.size(); at += block_bytes) {
      for (const std::size_t scale_at : scales_at)
        census.non_finite_scales += is_special_half(bytes, at + scale_at);
    }
  }
  if (which == encoding::iq1_m) {
    // The upper half of each odd byte from 48 on has four bits of the float16, the lowest first.
    for (std::size_t at = 0; at < bytes.size(); at += 56) {
      const bool has_top = (bytes[at + 55] & std::byte{0x70}) == std::byte{0x70};
      const bool has_rest = (bytes[at + 53] & std::byte{0xC0}) == std::byte{0xC0};
      census.non_finite_scales += has_top && has_rest ? 1U : 0U;
    }
  }
  if (which == encoding::apr_q8) {
    float scale = 0.0F;
    std::memcpy(&scale, bytes.data(), sizeof(scale));
    census.non_finite_scales = std::isfinite(scale) ? 0U : 1U;
  }
  return census;
}

TEST_CASE("a census counts what an independent decoder counts", "[value_counts]") {
  std::uint32_t seed = 0;
  for (const encoding which : nibble_test::decodable_encodings) {
    // Beyond one panel of 16,384 too, along the tensor and along the row.
    for (const auto& [rows, cols] :
         {std::pair{1U, 1U}, {3U, 31U}, {5U, 33U}, {200U, 172U}, {2U, 16385U}}) {
      auto bytes = nibble_test::any_stored_bytes(which, rows, cols, ++seed);
      // Zeros enough to count, but in the scales.
      for (std::size_t at = 40; at < bytes.size(); ++at) {
        if (at / 64 % 5 == 0) bytes[at] = std::byte{0};
      }
      const tensor_view view("w", which, {rows, cols}, bytes);
      const value_counts expected = counted_independently(which, rows, cols, bytes);
      CAPTURE(nibble::to_string(which), rows, cols);
      check_equal(nibble::count_values(view), expected);
      check_equal(nibble::count_values<nibble::simd::portable>(view), expected);
    }
  }
}

TEST_CASE("a census of values that were written by hand", "[value_counts]") {
  const std::vector<float> values = {0.0F, -0.0F, 1.0F, HUGE_VALF, -HUGE_VALF, std::nanf(""), -1e-45F};
  const auto bytes = std::as_bytes(std::span(values));
  check_equal(nibble::count_values(tensor_view("w", encoding::f32, {7}, bytes)),
              {.elements = 7, .nan = 1, .infinite = 2, .zero = 2, .non_finite_scales = 0});

  // A block of one column whose scale is infinite and whose min NaN: two scales, one value.
  const auto block = nibble_test::from_hex("007c 007e 01000000000000000000000000000000");
  check_equal(nibble::count_values(tensor_view("w", encoding::q4, {1, 1}, block)),
              {.elements = 1, .nan = 1, .infinite = 0, .zero = 0, .non_finite_scales = 2});

  // A reference block of which the scale counts as 0: all its values are zeros, its spare codes none.
  const auto reference = nibble_test::from_hex("007c 0123456789abcdef0123456789abcdef");
  check_equal(nibble::count_values(tensor_view("w", encoding::apr_q4, {5}, reference)),
              {.elements = 5, .nan = 0, .infinite = 0, .zero = 5, .non_finite_scales = 1});

  const auto whole = nibble_test::from_hex("0000807f 000102ff");  // an infinite f32 scale
  check_equal(nibble::count_values(tensor_view("w", encoding::apr_q8, {4}, whole)),
              {.elements = 4, .nan = 1, .infinite = 3, .zero = 0, .non_finite_scales = 1});
}

TEST_CASE("a census of nothing counts nothing", "[value_counts]") {
  for (const encoding which : nibble_test::decodable_encodings) {
    check_equal(nibble::count_values(tensor_view("w", which, {0, 5}, {})), {});
    check_equal(nibble::count_values(tensor_view("w", which, {5, 0}, {})), {});
  }
}

TEST_CASE("a census of what cannot be decoded is refused by name", "[value_counts]") {
  for (const nibble::encoding_description& row : nibble::encodings) {
    if (nibble::is_decodable(row.encoding)) continue;
    const auto bytes =
        nibble_test::random_bytes(static_cast<std::size_t>(*nibble::stored_bytes(row, 1, 256)), 1);
    const auto thrown = nibble_test::error_of([&] {
      static_cast<void>(nibble::count_values(tensor_view("ffn", row.encoding, {256}, bytes)));
    });
    REQUIRE(thrown);
    CHECK(thrown->code() == nibble::error_code::unsupported_encoding);
    CHECK(thrown->detail().tensor == "ffn");
  }
  const nibble::tensor_info unknown{.name = "odd", .dtype_id = 77, .shape = {4}, .size_bytes = 4};
  const auto bytes = nibble_test::random_bytes(4, 2);
  CHECK(nibble_test::code_of([&] {
          static_cast<void>(nibble::count_values(tensor_view(unknown, bytes)));
        }) == nibble::error_code::unsupported_encoding);
}

}  // namespace

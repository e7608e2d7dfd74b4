#include <nibble/codec/plain.hpp>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

#include <fmt/format.h>

#include <codec/independent_decoder.hpp>
#include <core/independent_halves.hpp>
#include <support/catch.hpp>

namespace {

using nibble_test::is_same_float;

template <class Codec>
concept Packable = requires {
  Codec::pack(1.0F);
};

TEST_CASE("f32, f16 and bf16 can be packed from f32, and nothing else", "[plain]") {
  static_assert(Packable<nibble::f32> && nibble::f32::can_pack);
  static_assert(Packable<nibble::f16> && nibble::f16::can_pack);
  static_assert(Packable<nibble::bf16> && nibble::bf16::can_pack);
  static_assert(!Packable<nibble::f64> && !nibble::f64::can_pack);
  static_assert(!Packable<nibble::i32> && !nibble::i32::can_pack);
  static_assert(!Packable<nibble::i64> && !nibble::i64::can_pack);
  static_assert(!Packable<nibble::i8> && !nibble::i8::can_pack);
  static_assert(!Packable<nibble::u8> && !nibble::u8::can_pack);
  static_assert(!Packable<nibble::i16> && !Packable<nibble::u16> && !Packable<nibble::u32>);
  static_assert(!Packable<nibble::u64> && !Packable<nibble::bool8>);
  SUCCEED("the assertions were compiled");
}

TEST_CASE("f32 is stored as it is, NaN payloads included", "[plain]") {
  for (const std::uint32_t bits :
       {0U, 0x80000000U, 1U, 0x3F800000U, 0xFF800000U, 0x7FC12345U, 0x7F7FFFFFU}) {
    const float value = std::bit_cast<float>(bits);
    CHECK(std::bit_cast<std::uint32_t>(nibble::f32::pack(value)) == bits);
    CHECK(std::bit_cast<std::uint32_t>(nibble::f32::unpack(value)) == bits);
  }
}

TEST_CASE("the 16-bit floats are rounded to nearest and widened exactly", "[plain]") {
  std::uint32_t packed = 0;
  for (std::uint64_t bits = 0; bits < 0x100000000U; bits += 100003) {
    const auto value = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
    if (std::isnan(value)) continue;
    const auto exact = static_cast<double>(value);
    if (nibble::f16::pack(value).bits != nibble_test::nearest_code(nibble_test::binary16, exact) ||
        nibble::bf16::pack(value).bits != nibble_test::nearest_code(nibble_test::brain16, exact)) {
      FAIL(fmt::format("{:a}", value));
    }
    ++packed;
  }
  CHECK(packed > 40000);
  for (std::uint32_t code = 0; code < 0x10000U; ++code) {
    const auto bits = static_cast<std::uint16_t>(code);
    const auto half = static_cast<float>(nibble_test::value_of(nibble_test::binary16, bits));
    const auto brain = static_cast<float>(nibble_test::value_of(nibble_test::brain16, bits));
    if (!is_same_float(nibble::f16::unpack({bits}), half)) FAIL(fmt::format("f16 {:04x}", code));
    if (!is_same_float(nibble::bf16::unpack({bits}), brain)) FAIL(fmt::format("bf16 {:04x}", code));
  }
}

TEST_CASE("wide numbers are rounded to the nearest f32, ties to even", "[plain]") {
  CHECK(nibble::i32::unpack(16777217) == 16777216.0F);
  CHECK(nibble::i32::unpack(16777219) == 16777220.0F);
  CHECK(nibble::i32::unpack(-16777217) == -16777216.0F);
  CHECK(nibble::i32::unpack(std::numeric_limits<std::int32_t>::min()) == -2147483648.0F);
  CHECK(nibble::i32::unpack(std::numeric_limits<std::int32_t>::max()) == 2147483648.0F);
  // 2^60 + 2^36 is a tie; one more decides, which a step through double would lose.
  constexpr std::int64_t tie = (std::int64_t{1} << 60) + (std::int64_t{1} << 36);
  CHECK(nibble::i64::unpack(tie) == 0x1p60F);
  CHECK(nibble::i64::unpack(tie + 1) == 0x1.000002p60F);
  CHECK(nibble::i64::unpack(-tie - 1) == -0x1.000002p60F);
  CHECK(nibble::i64::unpack(std::numeric_limits<std::int64_t>::min()) == -0x1p63F);
  CHECK(nibble::f64::unpack(1.0 + 0x1p-24) == 1.0F);
  CHECK(nibble::f64::unpack(std::nextafter(1.0 + 0x1p-24, 2.0)) == 1.0F + 0x1p-23F);
  CHECK(nibble::f64::unpack(0x1p-150) == 0.0F);
  CHECK(std::signbit(nibble::f64::unpack(-0x1p-150)));
  CHECK(nibble::f64::unpack(3.4028235677973366e38) == std::numeric_limits<float>::infinity());
  CHECK(std::isnan(nibble::f64::unpack(std::numeric_limits<double>::quiet_NaN())));
}

TEST_CASE("whole numbers of 16 bits are read exactly, unsigned wide ones to the nearest", "[plain]") {
  for (int code = 0; code < 0x10000; ++code) {
    REQUIRE(nibble::u16::unpack(static_cast<std::uint16_t>(code)) == static_cast<float>(code));
    REQUIRE(nibble::i16::unpack(static_cast<std::int16_t>(code - 0x8000)) ==
            static_cast<float>(code - 0x8000));
  }
  CHECK(nibble::u32::unpack(16777217) == 16777216.0F);
  CHECK(nibble::u32::unpack(0x80000000U) == 0x1p31F);
  CHECK(nibble::u32::unpack(std::numeric_limits<std::uint32_t>::max()) == 0x1p32F);
  constexpr std::uint64_t tie = (std::uint64_t{1} << 63U) + (std::uint64_t{1} << 39U);
  CHECK(nibble::u64::unpack(tie) == 0x1p63F);
  CHECK(nibble::u64::unpack(tie + 1) == 0x1.000002p63F);
  CHECK(nibble::u64::unpack(std::numeric_limits<std::uint64_t>::max()) == 0x1p64F);
}

TEST_CASE("a truth is one or nothing, whatever byte says it", "[plain]") {
  for (int byte = 0; byte < 256; ++byte) {
    CHECK(nibble::bool8::unpack(static_cast<std::uint8_t>(byte)) == (byte == 0 ? 0.0F : 1.0F));
  }
}

TEST_CASE("bytes are numbers of their own sign", "[plain]") {
  for (int byte = 0; byte < 256; ++byte) {
    CHECK(nibble::u8::unpack(static_cast<std::uint8_t>(byte)) == static_cast<float>(byte));
    CHECK(nibble::i8::unpack(static_cast<std::int8_t>(byte - 128)) == static_cast<float>(byte - 128));
  }
}

}  // namespace

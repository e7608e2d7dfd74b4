#include <nibble/simd/portable.hpp>

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <fmt/format.h>

#include <core/independent_halves.hpp>
#include <simd/against_portable.hpp>
#include <simd/emulated_widths.hpp>
#include <simd/products_against_portable.hpp>
#include <support/catch.hpp>

namespace {

namespace simd = nibble::simd;
using nibble_test::binary16;
using nibble_test::brain16;
using nibble_test::numbers_of;
using nibble_test::numbers_with_ends;

bool is_same(float found, double expected) {
  if (std::isnan(expected)) return std::isnan(found);
  return static_cast<double>(found) == expected && std::signbit(found) == std::signbit(expected);
}

template <class Architecture>
void check_byte_loads() {
  constexpr std::size_t width = simd::lanes<Architecture>;
  const auto bytes = nibble_test::all_bytes();
  for (std::size_t at = 0; at + width <= bytes.size(); ++at) {
    std::array<std::int32_t, width> widened_unsigned{};
    std::array<std::int32_t, width> widened_signed{};
    const simd::any_architecture any(Architecture{});
    simd::load_unsigned_bytes(bytes.data() + at, Architecture{}, any)
        .store_unaligned(widened_unsigned.data());
    simd::load_signed_bytes(bytes.data() + at, Architecture{}, any)
        .store_unaligned(widened_signed.data());
    for (std::size_t i = 0; i < width; ++i) {
      const int byte = std::to_integer<int>(bytes[at + i]);
      if (widened_unsigned[i] != byte) FAIL(fmt::format("unsigned byte {}", byte));
      if (widened_signed[i] != (byte < 128 ? byte : byte - 256))
        FAIL(fmt::format("signed byte {}", byte));
    }
  }
}

template <class Architecture>
void check_half_loads() {
  constexpr std::size_t width = simd::lanes<Architecture>;
  const auto bytes = nibble_test::all_halves();
  for (std::size_t at = 0; at + 2 * width <= bytes.size(); at += 2 * width) {
    std::array<float, width> halves{};
    std::array<float, width> brains{};
    const simd::any_architecture any(Architecture{});
    simd::load_float16(bytes.data() + at, Architecture{}, any).store_unaligned(halves.data());
    simd::load_bfloat16(bytes.data() + at, Architecture{}, any).store_unaligned(brains.data());
    for (std::size_t i = 0; i < width; ++i) {
      const auto code = static_cast<std::uint16_t>(std::to_integer<int>(bytes[at + 2 * i]) +
                                                   256 * std::to_integer<int>(bytes[at + 2 * i + 1]));
      if (!is_same(halves[i], nibble_test::value_of(binary16, code)))
        FAIL(fmt::format("float16 {:04x}", code));
      if (!is_same(brains[i], nibble_test::value_of(brain16, code)))
        FAIL(fmt::format("bfloat16 {:04x}", code));
    }
  }
}

template <class Architecture>
void check_loads_from_two_places() {
  constexpr std::size_t width = simd::lanes<Architecture>;
  const auto bytes = nibble_test::random_bytes(4 * width + 100, 3);
  const simd::any_architecture any(Architecture{});
  const std::byte* const low = bytes.data() + 51;
  const std::byte* const high = bytes.data() + 7;
  std::array<std::int32_t, width> words{};
  std::array<float, width> halves{};
  simd::load_halves<Architecture>(low, high, Architecture{}, any).store_unaligned(words.data());
  simd::load_float16_halves<Architecture>(low, high, Architecture{}, any)
      .store_unaligned(halves.data());
  for (std::size_t i = 0; i < width; ++i) {
    const std::byte* const half = i < width / 2 ? low : high;
    std::int32_t word = 0;
    std::memcpy(&word, half + 4 * (i % (width / 2)), sizeof(word));
    CHECK(words[i] == word);
    std::uint16_t code = 0;
    std::memcpy(&code, half + 2 * (i % (width / 2)), sizeof(code));
    CHECK(is_same(halves[i], nibble_test::value_of(binary16, code)));
  }
}

template <class Architecture>
void check_half_stores() {
  constexpr std::size_t width = simd::lanes<Architecture>;
  const auto values = nibble_test::boundary_floats();
  for (std::size_t at = 0; at + width <= values.size(); at += width) {
    std::array<std::byte, 4 * width + 2> stored{};
    const simd::any_architecture any(Architecture{});
    const auto loaded = simd::load<Architecture>(values.data() + at);
    simd::store_float16(loaded, stored.data() + 1, Architecture{}, any);
    simd::store_bfloat16(loaded, stored.data() + 1 + 2 * width, Architecture{}, any);
    const auto code_at = [&](std::size_t i) {
      return static_cast<std::uint16_t>(std::to_integer<int>(stored[i]) +
                                        256 * std::to_integer<int>(stored[i + 1]));
    };
    for (std::size_t i = 0; i < width; ++i) {
      const float value = values[at + i];
      const std::uint16_t half = code_at(1 + 2 * i);
      const std::uint16_t brain = code_at(1 + 2 * width + 2 * i);
      if (std::isnan(value)) {
        const bool both = std::isnan(nibble_test::value_of(binary16, half)) &&
                          std::isnan(nibble_test::value_of(brain16, brain));
        const bool sign = std::signbit(value);
        if (!both || (half >= 0x8000U) != sign || (brain >= 0x8000U) != sign) FAIL("NaN " << at + i);
      } else if (half != nibble_test::nearest_code(binary16, static_cast<double>(value)) ||
                 brain != nibble_test::nearest_code(brain16, static_cast<double>(value))) {
        FAIL(fmt::format("{:a} as {:04x} and {:04x}", value, half, brain));
      }
    }
    if (stored.front() != std::byte{0} || stored.back() != std::byte{0}) FAIL("wrote outside");
  }
}

template <class Architecture>
void check_interleaving() {
  constexpr std::size_t width = simd::lanes<Architecture>;
  using integers = simd::vector<std::int32_t, Architecture>;
  std::array<std::int32_t, width> a{};
  std::array<std::int32_t, width> b{};
  for (std::size_t i = 0; i < width; ++i) {
    a[i] = static_cast<std::int32_t>(100 + i);
    b[i] = static_cast<std::int32_t>(200 + i);
  }
  std::array<std::int32_t, 2 * width> both{};
  const auto from_a = integers::load_unaligned(a.data());
  const auto from_b = integers::load_unaligned(b.data());
  simd::interleave_low(from_a, from_b, Architecture{}, Architecture{}).store_unaligned(both.data());
  simd::interleave_high(from_a, from_b, Architecture{}, Architecture{})
      .store_unaligned(both.data() + width);
  for (std::size_t i = 0; i < width; ++i) {
    if (both[2 * i] != a[i] || both[2 * i + 1] != b[i]) FAIL("lane " << i << " of " << width);
  }
}

TEST_CASE("two vectors are interleaved over their whole width", "[portable]") {
  SECTION("portable") { check_interleaving<simd::portable>(); }
  SECTION("best architecture") { check_interleaving<simd::best_architecture>(); }
  SECTION("emulated widths") {
    nibble_test::for_emulated_widths(
        []<class Architecture>(Architecture) { check_interleaving<Architecture>(); });
  }
  SUCCEED("every lane");
}

TEST_CASE("bytes of either sign are widened to integers", "[portable]") {
  SECTION("portable") { check_byte_loads<simd::portable>(); }
  SECTION("best architecture") { check_byte_loads<simd::best_architecture>(); }
  SECTION("emulated widths") {
    nibble_test::for_emulated_widths(
        []<class Architecture>(Architecture) { check_byte_loads<Architecture>(); });
  }
  SUCCEED("every byte");
}

TEST_CASE("all 65,536 codes of the 16-bit floats are widened to their values", "[portable]") {
  SECTION("two places") {
    check_loads_from_two_places<simd::portable>();
    check_loads_from_two_places<simd::best_architecture>();
    nibble_test::for_emulated_widths(
        []<class Architecture>(Architecture) { check_loads_from_two_places<Architecture>(); });
  }
  SECTION("portable") { check_half_loads<simd::portable>(); }
  SECTION("best architecture") { check_half_loads<simd::best_architecture>(); }
  SECTION("emulated widths") {
    nibble_test::for_emulated_widths(
        []<class Architecture>(Architecture) { check_half_loads<Architecture>(); });
  }
  SUCCEED("every code");
}

TEST_CASE("floats are rounded to the nearest 16-bit float, NaN kept NaN", "[portable]") {
  SECTION("portable") { check_half_stores<simd::portable>(); }
  SECTION("best architecture") { check_half_stores<simd::best_architecture>(); }
  SECTION("emulated widths") {
    nibble_test::for_emulated_widths(
        []<class Architecture>(Architecture) { check_half_stores<Architecture>(); });
  }
  SUCCEED("every boundary");
}

template <class Architecture>
void check_products() {
  using nibble_test::block_of;
  constexpr Architecture tag{};
  const simd::any_architecture any(tag);
  for (std::uint32_t seed = 0; seed < 200; ++seed) {
    const auto pairs = nibble_test::random_bytes(16, seed);
    const auto as_bytes = numbers_of(simd::load_nibble_bytes(pairs.data(), tag, any));
    const auto as_words = numbers_of(simd::load_nibble_words(pairs.data(), tag, any));
    const auto bytes = nibble_test::random_bytes(32, seed);
    const auto as_unsigned = numbers_of(simd::load_unsigned_words(bytes.data(), tag, any));
    const auto as_signed = numbers_of(simd::load_signed_words(bytes.data(), tag, any));
    for (std::size_t i = 0; i < 32; ++i) {
      const int pair = std::to_integer<int>(pairs[i % 16]);
      const int code = i < 16 ? pair % 16 : pair / 16;
      const int byte = std::to_integer<int>(bytes[i]);
      if (as_bytes[i] != code || as_words[i] != code || as_unsigned[i] != byte ||
          as_signed[i] != (byte < 128 ? byte : byte - 256))
        FAIL("code " << i << " of " << seed);
    }
    const int shift = static_cast<int>(seed % 8);
    const int count = 1 + static_cast<int>(seed / 8) % (8 - shift);
    const int place = static_cast<int>(seed / 64) % (9 - count);
    const auto fields = numbers_of(simd::load_bit_fields(bytes.data(), shift, count, place, tag, any));
    const auto bits = numbers_of(simd::load_single_bits(bytes.data(), tag, any));
    std::array<std::int8_t, 16> table;
    for (std::size_t i = 0; i < 16; ++i)
      table[i] = static_cast<std::int8_t>(5 * static_cast<int>(i) - 70);
    const auto nibbles = simd::load_nibble_bytes(pairs.data(), tag, any);
    const auto found = numbers_of(simd::look_up(table, nibbles, tag, any));
    const auto joined = numbers_of(
        simd::join_bits(nibbles, simd::load_single_bits(bytes.data(), tag, any), 4, tag, any));
    for (std::size_t i = 0; i < 32; ++i) {
      const int byte = std::to_integer<int>(bytes[i]);
      const int bit = std::to_integer<int>(bytes[i / 8]) / (1 << i % 8) % 2;
      const int value = 5 * as_bytes[i] - 70;
      if (fields[i] != (byte / (1 << shift) % (1 << count)) * (1 << place) || bits[i] != bit ||
          joined[i] != as_bytes[i] + 16 * bit || found[i] != (value < 0 ? value + 256 : value))
        FAIL("bits of code " << i << " of " << seed);
    }

    const auto codes = numbers_with_ends<std::uint8_t>(32, 0, 255, seed);
    const auto x = numbers_with_ends<std::int8_t>(32, -127, 127, seed + 1);
    const auto words = numbers_with_ends<std::int16_t>(32, -255, 255, seed);
    const auto x_words = numbers_with_ends<std::int16_t>(32, -32767, 32767, seed + 1);
    long byte_sum = 0;
    long word_sum = 0;
    for (std::size_t i = 0; i < 32; ++i) {
      byte_sum += long{codes[i]} * x[i];
      word_sum += long{words[i]} * x_words[i];
    }
    const auto byte_block = block_of<simd::block_bytes<Architecture>, std::uint8_t>(codes);
    const auto word_block = block_of<simd::block_words<Architecture>, std::int16_t>(words);
    for (const std::int32_t lane : numbers_of(simd::byte_products(byte_block, x.data(), tag, any)))
      byte_sum -= lane;
    for (const std::int32_t lane :
         numbers_of(simd::word_products(word_block, x_words.data(), tag, any)))
      word_sum -= lane;
    if (byte_sum != 0 || word_sum != 0) FAIL("products of " << seed);
  }
}

template <class Architecture>
void check_groups() {
  constexpr Architecture tag{};
  const simd::any_architecture any(tag);
  constexpr std::size_t blocks = simd::lanes<Architecture>;
  constexpr std::size_t joined = simd::joined_blocks<Architecture>;
  for (std::uint32_t seed = 0; seed < 50; ++seed) {
    const auto bytes = nibble_test::random_bytes(20 * blocks, seed);
    const auto words = numbers_of(simd::load_words_apart<20>(bytes.data(), tag, any));
    const auto group = simd::load_lane_blocks<20>(bytes.data() + 4, tag, any);
    const auto x = numbers_with_ends<std::int8_t>(32 * blocks, -127, 127, seed);
    const auto sums =
        numbers_of(simd::lane_block_products<Architecture>(group, x.data(), 32 * joined, tag, any));
    for (std::size_t b = 0; b < blocks; ++b) {
      int sum = 0;
      std::uint32_t word = 0;
      for (std::size_t i = 0; i < 4; ++i) {
        word += std::to_integer<std::uint32_t>(bytes[20 * b + i]) << 8 * i;
      }
      for (std::size_t i = 0; i < 32; ++i) {
        const int pair = std::to_integer<int>(bytes[20 * b + 4 + i % 16]);
        const std::size_t place = (b / joined * 2 + i / 16) * joined * 16 + b % joined * 16 + i % 16;
        sum += (i < 16 ? pair % 16 : pair / 16) * x[place];
      }
      if (sums[b] != sum || static_cast<std::uint32_t>(words[b]) != word) FAIL("block " << b);
    }
  }
}

TEST_CASE("groups of blocks are taken apart and multiplied as arithmetic has it", "[portable]") {
  SECTION("portable") { check_groups<simd::portable>(); }
  SECTION("best architecture") { check_groups<simd::block_architecture<simd::best_architecture>>(); }
  SUCCEED("every group");
}

TEST_CASE("scales count where they are normal numbers of float16", "[portable]") {
  using nibble::float16;
  for (std::uint32_t code = 0; code < 0x10000U; ++code) {
    const float value = nibble::to_float32(float16{static_cast<std::uint16_t>(code)});
    const std::vector<float> lanes(simd::lanes<simd::portable>, value);
    const auto kept = numbers_of(simd::normal_float16_or_zero(simd::load<simd::portable>(lanes.data()),
                                                              simd::portable{}, simd::portable{}));
    const std::uint32_t exponent = code >> 10U & 31U;
    const float expected = exponent == 0 || exponent == 31 ? 0.0F : value;
    for (const float lane : kept) {
      if (std::bit_cast<std::uint32_t>(lane) != std::bit_cast<std::uint32_t>(expected)) FAIL(code);
    }
  }
  SUCCEED("every float16");
}

TEST_CASE("blocks are taken apart and multiplied as arithmetic has it", "[portable]") {
  SECTION("portable") { check_products<simd::portable>(); }
  SECTION("best architecture") { check_products<simd::block_architecture<simd::best_architecture>>(); }
  SECTION("emulated widths") {
    nibble_test::for_emulated_widths([]<class Architecture>(Architecture) {
      check_products<simd::block_architecture<Architecture>>();
    });
  }
  SUCCEED("every block");
}

TEST_CASE("activations are coded to the nearest code, ties to even", "[portable]") {
  constexpr simd::portable tag{};
  std::array<float, 32> values{};
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i) * 0.5F - 8.0F;
  std::array<std::int8_t, 32> codes;
  const auto sum =
      simd::quantize_block(values.data(), 1.0F, codes.data(), tag, simd::any_architecture(tag));
  std::int32_t expected_sum = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto nearest = static_cast<std::int32_t>(std::nearbyint(values[i]));
    CHECK(codes[i] == nearest);
    expected_sum += nearest;
  }
  CHECK(sum == expected_sum);
}

}  // namespace

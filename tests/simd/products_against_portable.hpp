#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <nibble/core/bfloat16.hpp>
// All of it: the templates below see those operations alone that stand before them.
#include <nibble/simd/simd.hpp>

#include <simd/against_portable.hpp>
#include <support/catch.hpp>
#include <support/random_values.hpp>

namespace nibble_test {

namespace simd = nibble::simd;

/// The numbers that a vector, or an array of them, holds.
template <class Vector>
std::vector<typename Vector::value_type> numbers_of(const Vector& of) {
  std::vector<typename Vector::value_type> numbers(Vector::size);
  of.store_unaligned(numbers.data());
  return numbers;
}
template <class Vector, std::size_t Count>
std::vector<typename Vector::value_type> numbers_of(const std::array<Vector, Count>& of) {
  std::vector<typename Vector::value_type> all;
  for (const Vector& each : of) {
    for (const auto number : numbers_of(each)) all.push_back(number);
  }
  return all;
}

/// `count` numbers from `least` to `most`, every third at an end.
template <class Number>
std::vector<Number> numbers_with_ends(std::size_t count, int least, int most, std::uint32_t seed) {
  std::mt19937 generator(seed);
  std::uniform_int_distribution<int> any(least, most);
  std::vector<Number> numbers(count);
  for (Number& number : numbers) {
    const auto turn = generator() % 6U;
    number = static_cast<Number>(turn == 0 ? least : turn == 1 ? most : any(generator));
  }
  return numbers;
}

/// A block of codes from 32 numbers.
template <class Block, class Number>
Block block_of(std::span<const Number> numbers) {
  std::array<Number, simd::block_codes> codes;
  std::copy(numbers.begin(), numbers.end(), codes.begin());
  return simd::block_from<Block>(codes);
}

/// Words of blocks of a size, from memory of no more than as many blocks as there are lanes.
template <class Architecture, std::size_t StrideBytes>
void require_words_apart() {
  constexpr Architecture own{};
  const simd::any_architecture twin(own);
  for (std::uint32_t seed = 0; seed < 64; ++seed) {
    const auto bytes = random_bytes(seed + StrideBytes * simd::lanes<Architecture>, seed);
    const std::byte* const from = bytes.data() + seed;
    if (numbers_of(simd::load_words_apart<StrideBytes>(from, own, own)) !=
        numbers_of(simd::load_words_apart<StrideBytes>(from, own, twin)))
      FAIL("load_words_apart by " << StrideBytes << " at " << seed);
  }
}

/// Sixteen and thirty-two bytes of rows of a length, from memory of no more than the rows need.
template <class Architecture>
void require_row_words(std::size_t row_bytes) {
  constexpr Architecture own{};
  const simd::any_architecture twin(own);
  for (std::uint32_t seed = 0; seed < 64; ++seed) {
    const auto bytes = random_bytes(seed + row_bytes * (simd::lanes<Architecture> - 1) + 16, seed);
    const std::byte* const from = bytes.data() + seed;
    if (numbers_of(simd::load_row_words<Architecture>(from, row_bytes, own, own)) !=
        numbers_of(simd::load_row_words<Architecture>(from, row_bytes, own, twin)))
      FAIL("load_row_words by " << row_bytes << " at " << seed);
    const auto more = random_bytes(seed + row_bytes * (simd::lanes<Architecture> - 1) + 32, seed);
    const std::byte* const start = more.data() + seed;
    if (numbers_of(simd::load_long_row_words<Architecture>(start, row_bytes, own, own)) !=
        numbers_of(simd::load_long_row_words<Architecture>(start, row_bytes, own, twin)))
      FAIL("load_long_row_words by " << row_bytes << " at " << seed);
  }
}

/// Nibbles of blocks of a size, taken apart and multiplied, as many blocks as there are lanes.
template <class Architecture, std::size_t StrideBytes>
void require_group_operations() {
  constexpr Architecture own{};
  const simd::any_architecture twin(own);
  constexpr std::size_t blocks = simd::lanes<Architecture>;
  constexpr std::size_t unit_elements = simd::joined_blocks<Architecture> * simd::block_codes;
  for (std::uint32_t seed = 0; seed < 100; ++seed) {
    auto bytes = random_bytes(seed % 64 + StrideBytes * (blocks - 1) + 16, seed);
    if (seed == 0) std::fill(bytes.begin(), bytes.end(), std::byte{0xFF});
    const std::byte* const from = bytes.data() + seed % 64;
    const auto group = simd::load_lane_blocks<StrideBytes>(from, own, own);
    const auto expected = simd::load_lane_blocks<StrideBytes>(from, own, twin);
    if (numbers_of(group) != numbers_of(expected)) FAIL("load_lane_blocks at " << seed);
    const std::size_t stride = unit_elements + seed % 3 * 32;
    const auto x =
        numbers_with_ends<std::int8_t>(stride * blocks, seed == 0 ? 127 : -127, 127, seed + 1);
    if (numbers_of(simd::lane_block_products<Architecture>(group, x.data(), stride, own, own)) !=
        numbers_of(simd::lane_block_products<Architecture>(group, x.data(), stride, own, twin)))
      FAIL("lane_block_products " << seed);
  }
}

/// Everything that works on a block of 32, by an architecture's own operations and by the portable
/// ones.
template <class Architecture>
void require_block_operations() {
  constexpr Architecture own{};
  const simd::any_architecture twin(own);
  const int most_code = simd::multiplies_any_byte<Architecture> ? 255 : 63;
  for (std::uint32_t seed = 0; seed < 300; ++seed) {
    const auto bytes = random_bytes(64, seed);
    const auto low_bytes = block_of<simd::block_bytes<Architecture>, std::uint8_t>(
        numbers_with_ends<std::uint8_t>(32, 0, 255, seed));
    const std::byte* const from = bytes.data() + seed % 32;
    if (numbers_of(simd::load_nibble_bytes(from, own, own)) !=
        numbers_of(simd::load_nibble_bytes(from, own, twin)))
      FAIL("load_nibble_bytes " << seed);
    if (numbers_of(simd::load_nibble_words(from, own, own)) !=
        numbers_of(simd::load_nibble_words(from, own, twin)))
      FAIL("load_nibble_words " << seed);
    if (numbers_of(simd::load_unsigned_words(from, own, own)) !=
        numbers_of(simd::load_unsigned_words(from, own, twin)))
      FAIL("load_unsigned_words " << seed);
    if (numbers_of(simd::load_signed_words(from, own, own)) !=
        numbers_of(simd::load_signed_words(from, own, twin)))
      FAIL("load_signed_words " << seed);
    for (int shift = 0; shift < 8; ++shift) {
      for (int count = 1; shift + count <= 8; ++count) {
        for (int place = 0; place + count <= 8; ++place) {
          if (numbers_of(simd::load_bit_fields(from, shift, count, place, own, own)) !=
              numbers_of(simd::load_bit_fields(from, shift, count, place, own, twin)))
            FAIL("load_bit_fields " << seed << ", " << count << " bits from " << shift << " to "
                                    << place);
        }
      }
    }
    if (numbers_of(simd::load_single_bits(from, own, own)) !=
        numbers_of(simd::load_single_bits(from, own, twin)))
      FAIL("load_single_bits " << seed);
    for (int count = 1; count < 8; ++count) {
      const auto lows = numbers_with_ends<std::uint8_t>(32, 0, (1 << count) - 1, seed);
      const auto highs = numbers_with_ends<std::uint8_t>(32, 0, (1 << (8 - count)) - 1, seed + 1);
      const auto low = block_of<simd::block_bytes<Architecture>, std::uint8_t>(lows);
      const auto high = block_of<simd::block_bytes<Architecture>, std::uint8_t>(highs);
      if (numbers_of(simd::join_bits(low, high, count, own, own)) !=
          numbers_of(simd::join_bits(low, high, count, own, twin)))
        FAIL("join_bits " << seed << " at " << count);
    }
    std::array<std::int8_t, 16> table;
    for (std::size_t i = 0; i < table.size(); ++i) table[i] = std::to_integer<std::int8_t>(bytes[i]);
    const auto indices = block_of<simd::block_bytes<Architecture>, std::uint8_t>(
        numbers_with_ends<std::uint8_t>(32, 0, 15, seed));
    if (numbers_of(simd::look_up(table, indices, own, own)) !=
        numbers_of(simd::look_up(table, indices, own, twin)))
      FAIL("look_up " << seed);
    std::array<std::byte, 34> stored{};
    simd::store_block<Architecture>(indices, stored.data() + 1);
    for (std::size_t i = 0; i < 32; ++i) {
      if (std::to_integer<std::uint8_t>(stored[i + 1]) != numbers_of(indices)[i]) FAIL("store_block");
    }
    if (stored.front() != std::byte{0} || stored.back() != std::byte{0}) FAIL("store_block beside");

    if (numbers_of(simd::widen_signed_bytes<Architecture>(low_bytes, own, own)) !=
        numbers_of(simd::widen_signed_bytes<Architecture>(low_bytes, own, twin)))
      FAIL("widen_signed_bytes " << seed);
    const bool is_at_its_end = seed == 0;
    const auto numbers = numbers_with_ends<std::int8_t>(17, -128, is_at_its_end ? -128 : 127, seed);
    const auto words = simd::load_factors(numbers.data() + 1, own, own);
    if (numbers_of(words) != numbers_of(simd::load_factors(numbers.data() + 1, own, twin)))
      FAIL("load_factors " << seed);
    [&]<std::size_t... Block>(std::index_sequence<Block...>) {
      const auto compare = [&]<std::size_t B>(std::integral_constant<std::size_t, B>) {
        if (numbers_of(simd::half_factors_of<B>(words, own, own)) !=
            numbers_of(simd::half_factors_of<B>(words, own, twin)))
          FAIL("half_factors_of " << B << " of " << seed);
      };
      (compare(std::integral_constant<std::size_t, Block>{}), ...);
    }
    (std::make_index_sequence<8>{});
    const auto factors = simd::half_factors_of<3>(words, own, own);
    const auto small_codes =
        numbers_with_ends<std::uint8_t>(32, is_at_its_end ? 127 : 0, 127, seed + 2);
    const auto small_block = block_of<simd::block_bytes<Architecture>, std::uint8_t>(small_codes);
    const auto any_x = numbers_with_ends<std::int8_t>(33, -127, is_at_its_end ? -127 : 127, seed + 3);
    if (numbers_of(simd::scaled_byte_products<Architecture>(small_block, any_x.data() + 1, factors, own,
                                                            own)) !=
        numbers_of(simd::scaled_byte_products<Architecture>(small_block, any_x.data() + 1, factors, own,
                                                            twin)))
      FAIL("scaled_byte_products " << seed);

    const auto byte_codes =
        numbers_with_ends<std::uint8_t>(32, is_at_its_end ? most_code : 0, most_code, seed);
    const auto bytes_of_x =
        numbers_with_ends<std::int8_t>(33, is_at_its_end ? 127 : -127, 127, seed + 1);
    const auto byte_block = block_of<simd::block_bytes<Architecture>, std::uint8_t>(byte_codes);
    if (numbers_of(simd::byte_products(byte_block, bytes_of_x.data() + 1, own, own)) !=
        numbers_of(simd::byte_products(byte_block, bytes_of_x.data() + 1, own, twin)))
      FAIL("byte_products " << seed);
    const auto word_codes =
        numbers_with_ends<std::int16_t>(32, is_at_its_end ? 4096 : -4096, 4096, seed);
    const auto words_of_x =
        numbers_with_ends<std::int16_t>(33, is_at_its_end ? 32767 : -32767, 32767, seed + 1);
    const auto word_block = block_of<simd::block_words<Architecture>, std::int16_t>(word_codes);
    if (numbers_of(simd::word_products(word_block, words_of_x.data() + 1, own, own)) !=
        numbers_of(simd::word_products(word_block, words_of_x.data() + 1, own, twin)))
      FAIL("word_products " << seed);

    const auto values = gaussian(33, seed, 1.0F);
    const float largest = simd::largest_magnitude(values.data() + 1, own, own);
    if (largest != simd::largest_magnitude(values.data() + 1, own, twin)) FAIL("largest " << seed);
    const auto code = [&]<class Code>(Code) {
      std::array<Code, 32> codes;
      std::array<Code, 32> expected;
      const float steps = static_cast<float>(std::numeric_limits<Code>::max()) / largest;
      const auto sum = simd::quantize_block(values.data() + 1, steps, codes.data(), own, own);
      const auto expected_sum =
          simd::quantize_block(values.data() + 1, steps, expected.data(), own, twin);
      if (codes != expected || sum != expected_sum) FAIL("quantize_block " << seed);
    };
    code(std::int8_t{});
    code(std::int16_t{});
  }
  require_group_operations<Architecture, 18>();
  require_group_operations<Architecture, 20>();
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    for (std::size_t at = 0; at < 32; ++at) {
      auto values = gaussian(32, 5, 1.0F);
      values[at] = bad;
      CHECK_FALSE(std::isfinite(simd::largest_magnitude(values.data(), own, own)));
      CHECK_FALSE(std::isfinite(simd::largest_magnitude(values.data(), own, twin)));
    }
  }
}

/// Products of bf16 in pairs, each sum within two roundings of that in double; NaN and infinities where
/// the portable code has them.
template <class Architecture>
void require_bfloat16_products() {
  static_assert(simd::multiplies_bfloat16<Architecture>);
  constexpr Architecture own{};
  const simd::any_architecture twin(own);
  constexpr std::size_t width = simd::lanes<Architecture>;
  using integers = simd::vector<std::int32_t, Architecture>;
  using pair = std::array<nibble::bfloat16, 2>;
  std::size_t not_finite = 0;
  for (std::uint32_t seed = 0; seed < 2000; ++seed) {
    std::array<std::int32_t, width> left, right;
    const auto values = mixed_magnitudes(4 * width, seed);
    std::mt19937 generator(seed);
    for (std::size_t i = 0; i < width; ++i) {
      // Every second vector is of any bits, NaN and infinities and the smallest numbers among them.
      left[i] = std::bit_cast<std::int32_t>(
          pair{nibble::to_bfloat16(values[4 * i]), nibble::to_bfloat16(values[4 * i + 1])});
      right[i] = seed % 2 == 0
                     ? static_cast<std::int32_t>(generator())
                     : std::bit_cast<std::int32_t>(pair{nibble::to_bfloat16(values[4 * i + 2]),
                                                        nibble::to_bfloat16(values[4 * i + 3])});
    }
    const auto starts = mixed_magnitudes(width + 1, seed + 7777);
    const auto sums = simd::load<Architecture>(starts.data() + 1);
    const auto a = integers::load_unaligned(left.data());
    const auto b = integers::load_unaligned(right.data());
    std::array<float, width> found, expected;
    simd::add_bfloat16_products<Architecture>(sums, a, b, own, own).store_unaligned(found.data());
    simd::add_bfloat16_products<Architecture>(sums, a, b, own, twin).store_unaligned(expected.data());
    for (std::size_t i = 0; i < width; ++i) {
      const auto [x, y] = std::pair(std::bit_cast<pair>(left[i]), std::bit_cast<pair>(right[i]));
      double sum = static_cast<double>(starts[i + 1]);
      double magnitudes = std::fabs(sum);
      for (const std::size_t half : {0U, 1U}) {
        const double product = static_cast<double>(nibble::to_float32(x[half])) *
                               static_cast<double>(nibble::to_float32(y[half]));
        sum += product;
        magnitudes += std::fabs(product);
      }
      const double bound = magnitudes * 0x1p-22 + 0x1p-120;
      const bool is_finite = magnitudes < 0x1p127;
      if (!is_finite) ++not_finite;
      for (const float each : {found[i], expected[i]}) {
        const bool is_near = is_finite ? std::fabs(static_cast<double>(each) - sum) <= bound
                                       : std::isnan(each) == std::isnan(expected[i]) &&
                                             (std::isfinite(expected[i]) || !std::isfinite(each));
        if (!is_near) FAIL(fmt::format("seed {} lane {}: {} instead of {}", seed, i, each, sum));
      }
    }
  }
  CHECK(not_finite > 100);
}

/// Everything that works on panels, whose lanes are weight rows.
template <class Architecture>
void require_panel_operations() {
  constexpr Architecture own{};
  const simd::any_architecture twin(own);
  constexpr std::size_t width = simd::lanes<Architecture>;
  using integers = simd::vector<std::int32_t, Architecture>;
  using bytes_vector = simd::vector<std::uint8_t, Architecture>;
  using words_vector = simd::vector<std::int16_t, Architecture>;
  const int most_code = simd::multiplies_any_byte<Architecture> ? 255 : 15;
  for (std::uint32_t seed = 0; seed < 100; ++seed) {
    simd::lane_tile<Architecture> square;
    std::mt19937 generator(seed);
    for (integers& row : square) {
      std::array<std::int32_t, width> numbers;
      for (auto& number : numbers) number = static_cast<std::int32_t>(generator());
      row = integers::load_unaligned(numbers.data());
    }
    auto expected = square;
    simd::transpose<Architecture>(square, own, own);
    simd::transpose<Architecture>(expected, own, twin);
    if (numbers_of(square) != numbers_of(expected)) FAIL("transpose " << seed);

    // Eight quads, as many as a block has: the most that the sums must hold.
    simd::quad_sums<Architecture> quads(0);
    simd::quad_sums<Architecture> expected_quads(0);
    integers pairs(0);
    integers expected_pairs(0);
    for (std::uint32_t turn = 0; turn < 8; ++turn) {
      const std::uint32_t own_seed = seed * 8 + turn;
      const bool is_at_its_end = seed == 0;
      const auto codes = numbers_with_ends<std::uint8_t>(
          bytes_vector::size, is_at_its_end ? most_code : 0, most_code, own_seed);
      const auto x = numbers_with_ends<std::int8_t>(4, is_at_its_end ? 127 : -127, 127, own_seed);
      const auto vector = bytes_vector::load_unaligned(codes.data());
      quads = simd::add_quads<Architecture>(quads, vector, x.data(), own, own);
      expected_quads = simd::add_quads<Architecture>(expected_quads, vector, x.data(), own, twin);
      const auto words = numbers_with_ends<std::int16_t>(words_vector::size, -255, 255, own_seed);
      const auto words_of_x = numbers_with_ends<std::int16_t>(2, -32767, 32767, own_seed);
      const auto word_vector = words_vector::load_unaligned(words.data());
      pairs = simd::add_pairs<Architecture>(pairs, word_vector, words_of_x.data(), own, own);
      expected_pairs =
          simd::add_pairs<Architecture>(expected_pairs, word_vector, words_of_x.data(), own, twin);
    }
    if (numbers_of(simd::total_of_quads<Architecture>(quads, own, own)) !=
        numbers_of(simd::total_of_quads<Architecture>(expected_quads, own, twin)))
      FAIL("add_quads " << seed);
    if (numbers_of(pairs) != numbers_of(expected_pairs)) FAIL("add_pairs " << seed);

    const auto values = mixed_magnitudes(width + 1, seed);
    const auto lanes = simd::load<Architecture>(values.data() + 1);
    if (simd::sum_of_lanes<Architecture>(lanes, own, own) !=
        simd::sum_of_lanes<Architecture>(lanes, own, twin))
      FAIL("sum_of_lanes " << seed);
  }
  require_words_apart<Architecture, 18>();
  require_words_apart<Architecture, 20>();
  for (const std::size_t row_bytes : {16U, 17U, 20U, 360U}) require_row_words<Architecture>(row_bytes);
  require_words_apart<Architecture, 36>();
  const auto halves = all_halves();
  for (std::size_t at = 0; at + 4 * width <= halves.size(); at += 4 * width) {
    std::array<std::int32_t, width> words;
    std::memcpy(words.data(), halves.data() + at, sizeof(words));
    const auto pairs = integers::load_unaligned(words.data());
    const auto found = simd::widen_float16_pairs(pairs, own, own);
    const auto expected = simd::widen_float16_pairs(pairs, own, twin);
    if (lane_bits(found.first) != lane_bits(expected.first) ||
        lane_bits(found.second) != lane_bits(expected.second)) {
      FAIL("widen_float16_pairs at " << at);
    }
    const auto normal = simd::normal_float16_or_zero(expected.first, own, own);
    const auto expected_normal = simd::normal_float16_or_zero(expected.first, own, twin);
    if (lane_bits(normal) != lane_bits(expected_normal)) FAIL("normal_float16_or_zero at " << at);
    const auto low_bits = lane_bits(expected.first);
    for (std::size_t i = 0; i < width; ++i) {
      nibble::float16 half;
      std::memcpy(&half, halves.data() + at + 4 * i, sizeof(half));
      if (std::bit_cast<std::uint32_t>(simd::widen_float16(half, own, own)) != low_bits[i])
        FAIL("widen_float16 at " << at);
    }
  }
}

/// Codes of super-blocks whose bits lie in those places, from memory of no more than they need.
template <class Architecture, auto Low, auto High>
void require_super_block_codes() {
  constexpr Architecture own{};
  const simd::any_architecture twin(own);
  std::size_t end = 0;
  for (std::size_t v = 0; v < Low.size(); ++v) {
    for (std::size_t i = 0; i < Low[v].size(); ++i) {
      end = std::max({end, Low[v][i].at_byte, High[v][i].count == 0 ? 0 : High[v][i].at_byte});
    }
  }
  for (std::uint32_t seed = 0; seed < 128; ++seed) {
    const auto bytes = random_bytes(seed % 64 + end + simd::block_codes, seed);
    const std::byte* const from = bytes.data() + seed % 64;
    const auto loaded = simd::load_super_block<Low, High>(from, own, own);
    const auto expected = simd::load_super_block<Low, High>(from, own, twin);
    for (std::size_t v = 0; v < loaded.size(); ++v) {
      if (numbers_of(loaded[v]) != numbers_of(expected[v]))
        FAIL("load_super_block, vector " << v << " at " << seed);
    }
  }
}

/// Numbers of six bits in twelve bytes.
template <class Architecture>
void require_six_bit_numbers() {
  constexpr Architecture own{};
  const simd::any_architecture twin(own);
  for (std::uint32_t seed = 0; seed < 1000; ++seed) {
    const auto bytes = numbers_with_ends<std::uint8_t>(12, 0, 255, seed);
    if (simd::load_six_bit_numbers(bytes.data(), own, own) !=
        simd::load_six_bit_numbers(bytes.data(), own, twin))
      FAIL("load_six_bit_numbers " << seed);
  }
}

/// Everything that works on super-blocks but for products of bytes.
template <class Architecture>
void require_super_block_operations() {
  using nibble::code_bits, nibble::bit_layout;
  constexpr Architecture own{};
  const simd::any_architecture twin(own);
  constexpr auto bits = [](std::size_t first, std::size_t second, unsigned count, unsigned first_shift,
                           unsigned second_shift) {
    return simd::vector_bits<Architecture>{code_bits{bit_layout::bytes, first, count, first_shift},
                                           code_bits{bit_layout::bytes, second, count, second_shift}};
  };
  using all_bits = simd::super_block_bits<Architecture>;
  constexpr auto same = [](const auto& each) { return all_bits{each, each, each, each}; };
  constexpr auto none = same(bits(0, 0, 0, 0, 0));
  // No high bits, and some places twice.
  require_super_block_codes<Architecture,
                            all_bits{bits(0, 32, 4, 0, 0), bits(0, 32, 4, 4, 4), bits(1, 1, 4, 0, 4),
                                     bits(70, 3, 4, 1, 2)},
                            none>();
  require_super_block_codes<Architecture,
                            all_bits{bits(16, 48, 2, 0, 0), bits(16, 48, 2, 2, 2),
                                     bits(16, 48, 2, 4, 4), bits(16, 48, 2, 6, 6)},
                            none>();
  // High bits that a mask keeps together, two by two or none.
  require_super_block_codes<Architecture,
                            all_bits{bits(0, 32, 4, 0, 0), bits(0, 32, 4, 4, 4), bits(64, 96, 4, 0, 0),
                                     bits(64, 96, 4, 4, 4)},
                            all_bits{bits(128, 128, 2, 0, 2), bits(128, 128, 2, 4, 6),
                                     bits(160, 160, 2, 0, 2), bits(160, 160, 2, 4, 6)}>();
  require_super_block_codes<Architecture,
                            all_bits{bits(32, 64, 4, 0, 0), bits(32, 64, 4, 4, 4),
                                     bits(96, 128, 4, 0, 0), bits(96, 128, 4, 4, 4)},
                            all_bits{bits(0, 0, 1, 0, 2), bits(0, 0, 1, 1, 3), bits(0, 0, 1, 4, 6),
                                     bits(0, 0, 1, 5, 7)}>();
  require_super_block_codes<Architecture,
                            all_bits{bits(32, 64, 2, 0, 0), bits(32, 64, 2, 2, 2),
                                     bits(32, 64, 2, 4, 4), bits(32, 64, 2, 6, 6)},
                            all_bits{bits(0, 0, 1, 0, 4), bits(0, 0, 1, 1, 5), bits(0, 0, 1, 2, 6),
                                     bits(0, 0, 1, 3, 7)}>();
  require_super_block_codes<Architecture,
                            all_bits{bits(9, 80, 3, 5, 2), bits(80, 9, 3, 0, 1), bits(9, 80, 3, 4, 4),
                                     bits(9, 80, 3, 5, 2)},
                            all_bits{bits(100, 2, 5, 3, 0), bits(100, 2, 5, 0, 3),
                                     bits(2, 100, 5, 1, 1), bits(100, 2, 5, 3, 0)}>();
  // Those of the first one with those of either other, but not all three.
  require_super_block_codes<Architecture, same(bits(32, 64, 6, 0, 1)),
                            all_bits{bits(0, 0, 1, 0, 0), bits(0, 0, 1, 3, 3), bits(0, 0, 1, 4, 4),
                                     bits(0, 0, 1, 1, 1)}>();
  constexpr std::size_t width = simd::lanes<Architecture>;
  using integers = simd::vector<std::int32_t, Architecture>;
  using words = simd::vector<std::int16_t, Architecture>;
  constexpr simd::super_block_order order{3, 0, 7, 1, 2, 6, 4, 5};
  for (std::uint32_t seed = 0; seed < 300; ++seed) {
    const bool is_at_its_end = seed == 0;
    const auto numbers = numbers_with_ends<std::int8_t>(17, -128, is_at_its_end ? -128 : 127, seed);
    const auto compare =
        [&]<std::size_t CodesANumber>(std::integral_constant<std::size_t, CodesANumber>) {
          const std::int8_t* const from = numbers.data() + 1;
          if (numbers_of(simd::spread_factors<CodesANumber, order>(from, own, own)) !=
              numbers_of(simd::spread_factors<CodesANumber, order>(from, own, twin)))
            FAIL("spread_factors " << CodesANumber << " " << seed);
          if (numbers_of(simd::widen_numbers<CodesANumber>(from, own, own)) !=
              numbers_of(simd::widen_numbers<CodesANumber>(from, own, twin)))
            FAIL("widen_numbers " << CodesANumber << " " << seed);
        };
    compare(std::integral_constant<std::size_t, 16>{});
    compare(std::integral_constant<std::size_t, 32>{});
    const auto scales = gaussian(9, seed, 1.0F);
    if (numbers_of(simd::spread_scales<order>(scales.data() + 1, own, own)) !=
        numbers_of(simd::spread_scales<order>(scales.data() + 1, own, twin)))
      FAIL("spread_scales " << seed);

    const auto quads =
        numbers_with_ends<std::int32_t>(2 * width, -32004, is_at_its_end ? -32004 : 32004, seed);
    const auto factors =
        numbers_with_ends<std::int16_t>(2 * width, -32768, is_at_its_end ? -32768 : 32767, seed);
    const auto first = integers::load_unaligned(quads.data());
    const auto second = integers::load_unaligned(quads.data() + width);
    const auto own_factors = words::load_unaligned(factors.data());
    const auto narrow = simd::narrow_quads<Architecture>(first, second, own, own);
    if (numbers_of(narrow) != numbers_of(simd::narrow_quads<Architecture>(first, second, own, twin)))
      FAIL("narrow_quads " << seed);
    if (numbers_of(simd::multiply_quads<Architecture>(narrow, own_factors, own, own)) !=
        numbers_of(simd::multiply_quads<Architecture>(narrow, own_factors, own, twin)))
      FAIL("multiply_quads " << seed);
    const std::array pair{nibble::float16{static_cast<std::uint16_t>(seed * 211 & 0x7BFF)},
                          nibble::float16{static_cast<std::uint16_t>((seed * 97 & 0x7BFF) + 0x8000)}};
    const auto spread = simd::spread_float16_pair(pair[0], pair[1], own, own);
    const auto expected = simd::spread_float16_pair(pair[0], pair[1], own, twin);
    if (numbers_of(spread.first) != numbers_of(expected.first) ||
        numbers_of(spread.second) != numbers_of(expected.second))
      FAIL("spread_float16_pair " << seed);
  }
}

/// Sums of four products of any bytes, lane by lane.
template <class Architecture>
void require_quad_products() {
  constexpr Architecture own{};
  const simd::any_architecture twin(own);
  using bytes_vector = simd::vector<std::uint8_t, Architecture>;
  using integers = simd::vector<std::int32_t, Architecture>;
  for (std::uint32_t seed = 0; seed < 300; ++seed) {
    const bool is_at_its_end = seed == 0;
    const auto codes =
        numbers_with_ends<std::uint8_t>(bytes_vector::size, is_at_its_end ? 255 : 0, 255, seed);
    const auto x = numbers_with_ends<std::int8_t>(bytes_vector::size + 1, -127,
                                                  is_at_its_end ? -127 : 127, seed + 1);
    const auto starts = numbers_with_ends<std::int32_t>(integers::size, -1000000, 1000000, seed + 2);
    const auto sums = integers::load_unaligned(starts.data());
    const auto vector = bytes_vector::load_unaligned(codes.data());
    if (numbers_of(simd::add_quad_products<Architecture>(sums, vector, x.data() + 1, own, own)) !=
        numbers_of(simd::add_quad_products<Architecture>(sums, vector, x.data() + 1, own, twin)))
      FAIL("add_quad_products " << seed);
  }
}

/// Bytes of 255 times bytes of +-127, whose 16-bit sums would saturate.
template <class Architecture>
void require_products_of_any_byte() {
  constexpr Architecture own{};
  static_assert(simd::multiplies_any_byte<Architecture>);
  using bytes = simd::vector<std::uint8_t, Architecture>;
  for (const int activation : {127, -127}) {
    std::array<std::int8_t, 4> quad;
    quad.fill(static_cast<std::int8_t>(activation));
    simd::quad_sums<Architecture> sums(0);
    for (int turn = 0; turn < 8; ++turn) {
      sums = simd::add_quads<Architecture>(sums, bytes(255), quad.data(), own, own);
    }
    for (const std::int32_t lane : numbers_of(simd::total_of_quads<Architecture>(sums, own, own)))
      CHECK(lane == 8 * 4 * 255 * activation);
  }
}

}  // namespace nibble_test

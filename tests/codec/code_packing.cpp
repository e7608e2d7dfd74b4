#include <nibble/codec/code_packing.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <fmt/format.h>

#include <nibble/codec/apr_q4.hpp>
#include <nibble/codec/apr_q8.hpp>
#include <nibble/codec/q4.hpp>
#include <nibble/codec/q4_0.hpp>
#include <nibble/codec/q4_1.hpp>
#include <nibble/codec/q8.hpp>
#include <nibble/codec/q8_0.hpp>

#include <support/catch.hpp>

namespace {

using nibble::code_packing;
constexpr nibble::float16 one{0x3C00};

/// The elements that byte `at` of the codes holds, its low bits first.
std::array<std::size_t, 2> elements_of_byte(code_packing packing, std::size_t at,
                                            std::size_t block_elements) {
  if (packing == code_packing::nibble_halves) return {at, at + block_elements / 2};
  if (packing == code_packing::nibble_neighbors) return {2 * at, 2 * at + 1};
  return {at, at};
}

/// With a scale of 1 an element is its code less code_zero (plus a min of 0). Sets one byte after the
/// other to every value and looks where its codes surface.
template <class Codec>
void require_packing_is_what_unpack_reads() {
  constexpr std::size_t count = Codec::block_elements;
  constexpr bool has_nibbles =
      Codec::packing == code_packing::nibble_halves || Codec::packing == code_packing::nibble_neighbors;
  typename Codec::block block{};
  block.scale = one;
  for (std::size_t at = 0; at < block.codes.size(); ++at) {
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
      block.codes.fill(0);
      block.codes[at] = static_cast<std::uint8_t>(byte);
      std::array<float, count> values{};
      Codec::unpack(block, values);
      std::array<std::uint32_t, count> expected{};
      const auto [low, high] = elements_of_byte(Codec::packing, at, count);
      expected[low] = has_nibbles ? byte % 16 : byte;
      if (has_nibbles) expected[high] = byte / 16;
      for (std::size_t j = 0; j < count; ++j) {
        const auto code = static_cast<std::int32_t>(expected[j]) - Codec::code_zero;
        if (values[j] != static_cast<float>(code))
          FAIL(fmt::format("byte {} = {}, element {}", at, byte, j));
      }
    }
  }
}

TEST_CASE("each codec's packing says where its unpack finds a code", "[code_packing]") {
  require_packing_is_what_unpack_reads<nibble::q8>();
  require_packing_is_what_unpack_reads<nibble::q4>();
  require_packing_is_what_unpack_reads<nibble::apr_q4>();
  require_packing_is_what_unpack_reads<nibble::q4_0>();
  require_packing_is_what_unpack_reads<nibble::q4_1>();
  static_assert(nibble::q8::packing == code_packing::unsigned_bytes);
  static_assert(nibble::q4::packing == code_packing::nibble_halves);
  static_assert(nibble::apr_q4::packing == code_packing::nibble_neighbors);
  SUCCEED("every byte of every block");
}

TEST_CASE("signed bytes are read as signed", "[code_packing]") {
  static_assert(nibble::apr_q8::packing == code_packing::signed_bytes);
  static_assert(nibble::q8_0::packing == code_packing::signed_bytes);
  std::array<std::int8_t, 256> codes{};
  std::array<float, 256> values{};
  for (std::size_t i = 0; i < 256; ++i) codes[i] = static_cast<std::int8_t>(static_cast<int>(i) - 128);
  nibble::apr_q8::unpack(1.0F, codes, values);
  for (std::size_t i = 0; i < 256; ++i) CHECK(values[i] == static_cast<float>(i) - 128.0F);
}

}  // namespace

#include <nibble/format/gguf/ggml_twin.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include <nibble/codec/apr_q4.hpp>
#include <nibble/core/float16.hpp>

#include <support/apr_bytes.hpp>
#include <support/catch.hpp>
#include <support/random_values.hpp>

using nibble::encoding;
using nibble::gguf::ggml_twin_of;
using nibble::gguf::to_ggml_twin;
using nibble_test::number_at;

namespace {

/// Values of ggml's Q4_0 by its definition: d * (q - 8), elements 0..15 in the low halves of the bytes,
/// 16..31 in the high ones.
std::vector<float> q4_0_values(const std::vector<std::byte>& blocks) {
  std::vector<float> values;
  for (std::size_t at = 0; at < blocks.size(); at += 18) {
    const float scale = nibble::to_float32(nibble::float16{number_at<std::uint16_t>(blocks, at)});
    for (const unsigned shift : {0U, 4U}) {
      for (std::size_t i = 0; i < 16; ++i) {
        const auto code = std::to_integer<unsigned>(blocks[at + 2 + i]) >> shift & 15U;
        values.push_back(scale * (static_cast<float>(code) - 8.0F));
      }
    }
  }
  return values;
}

std::vector<float> apr_q4_values(const std::vector<std::byte>& blocks) {
  std::vector<float> values(blocks.size() / 18 * 32);
  for (std::size_t at = 0; at < blocks.size(); at += 18) {
    nibble::apr_q4::block block;
    std::memcpy(&block, blocks.data() + at, 18);
    nibble::apr_q4::unpack(block, std::span(values).subspan(at / 18 * 32, 32));
  }
  return values;
}

}  // namespace

TEST_CASE("what ggml has a type for is its own twin, q4 and apr_q4 have one", "[ggml_twin]") {
  const std::map<encoding, std::optional<encoding>> others = {
      {encoding::q4, encoding::q4_1},        {encoding::apr_q4, encoding::q4_0},
      {encoding::q8, std::nullopt},          {encoding::apr_q8, std::nullopt},
      {encoding::q4_r8, std::nullopt},       {encoding::q8_r8, std::nullopt},
      {encoding::u8, std::nullopt},          {encoding::u16, std::nullopt},
      {encoding::u32, std::nullopt},         {encoding::u64, std::nullopt},
      {encoding::bool8, std::nullopt},       {encoding::c64, std::nullopt},
      {encoding::f8_e4m3, std::nullopt},     {encoding::f8_e5m2, std::nullopt},
      {encoding::f8_e8m0, std::nullopt},     {encoding::f8_e4m3fnuz, std::nullopt},
      {encoding::f8_e5m2fnuz, std::nullopt}, {encoding::f6_e2m3, std::nullopt},
      {encoding::f6_e3m2, std::nullopt},     {encoding::f4, std::nullopt}};
  for (const nibble::encoding_description& row : nibble::encodings) {
    const auto other = others.find(row.encoding);
    CAPTURE(row.name);
    CHECK(row.gguf_type.has_value() == (other == others.end()));
    CHECK(ggml_twin_of(row.encoding) == (other == others.end() ? row.encoding : other->second));
  }
}

TEST_CASE("apr_q4 blocks become Q4_0 blocks of the same values", "[ggml_twin]") {
  auto blocks = nibble_test::random_bytes(18 * 3000, 1);
  // Scales of every kind, all of the exponents among them.
  for (std::size_t block = 0; block < 3000; ++block) {
    if (block < 2048) {
      nibble_test::put_number(blocks, 18 * block,
                              static_cast<std::uint16_t>(block << 5U | (block % 7 == 0 ? 1U : 0U)));
    }
  }
  std::vector<std::byte> moved(blocks.size());
  to_ggml_twin(encoding::apr_q4, blocks, moved);
  const auto expected = apr_q4_values(blocks);
  const auto found = q4_0_values(moved);
  REQUIRE(found.size() == expected.size());
  std::size_t different = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    different += std::bit_cast<std::uint32_t>(found[i]) != std::bit_cast<std::uint32_t>(expected[i]);
  }
  CHECK(different == 0);
  std::size_t zero_scales = 0;
  for (std::size_t at = 0; at < moved.size(); at += 18) {
    const auto before = number_at<std::uint16_t>(blocks, at);
    const auto after = number_at<std::uint16_t>(moved, at);
    const bool counts_as_zero = (before & 0x7C00U) == 0 || (before & 0x7C00U) == 0x7C00U;
    CHECK(after == (counts_as_zero ? 0 : before));
    zero_scales += counts_as_zero ? 1U : 0U;
  }
  CHECK(zero_scales > 100);
}

TEST_CASE("a golden apr_q4 block is moved nibble by nibble", "[ggml_twin]") {
  // Codes 0 1 2 .. 15 0 1 2 .. 15: neighbours share a byte.
  const auto neighbours = nibble_test::bytes_of_hex("003c 1032547698badcfe 1032547698badcfe");
  const auto halves = nibble_test::bytes_of_hex("003c 00112233445566778899aabbccddeeff");
  std::vector<std::byte> moved(18);
  to_ggml_twin(encoding::apr_q4, neighbours, moved);
  CHECK(moved == halves);
  // In place.
  moved = neighbours;
  to_ggml_twin(encoding::apr_q4, moved, moved);
  CHECK(moved == halves);
}

TEST_CASE("blocks of other encodings are copied", "[ggml_twin]") {
  for (const encoding which : {encoding::q4, encoding::q4_k, encoding::f32}) {
    const auto blocks = nibble_test::random_bytes(2880, 2);
    std::vector<std::byte> moved(blocks.size());
    to_ggml_twin(which, blocks, moved);
    CHECK(moved == blocks);
  }
}

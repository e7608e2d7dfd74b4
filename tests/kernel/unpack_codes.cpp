#include <nibble/kernel/unpack_codes.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/codec/codecs.hpp>
#include <nibble/simd/simd.hpp>

#include <codec/hex_bytes.hpp>
#include <codec/independent_decoder.hpp>
#include <support/catch.hpp>
#include <support/random_values.hpp>

namespace {

namespace kernel = nibble::kernel;
namespace simd = nibble::simd;

/// Codes, scales and mins make the values that the scalar codec unpacks, in either form.
template <class Architecture, class Codec>
void require_unpacked_codes() {
  using block = typename Codec::block;
  constexpr std::size_t part = kernel::sub_block_elements<Codec>();
  const auto bytes = nibble_test::random_bytes(300 * sizeof(block), 9);
  for (std::size_t at = 0; at < bytes.size(); at += sizeof(block)) {
    std::array<float, Codec::block_elements> expected{};
    Codec::unpack(nibble_test::block_from<block>(std::span(bytes).subspan(at)), expected);
    std::array<std::byte, Codec::block_elements + 2> stored{};
    std::array<std::byte, Codec::block_elements + 2> counted{};
    const std::byte* const from = bytes.data() + at;
    kernel::unpack_codes<Architecture, Codec, kernel::code_form::stored>(from, stored.data() + 1);
    kernel::unpack_codes<Architecture, Codec, kernel::code_form::counted>(from, counted.data() + 1);
    std::array<float, kernel::max_sub_blocks> scales;
    std::array<float, kernel::max_sub_blocks> mins;
    kernel::load_sub_block_scales<Architecture, Codec>(from, scales.data(), mins.data());
    for (std::size_t j = 0; j < expected.size(); ++j) {
      const int number = std::to_integer<std::int8_t>(counted[j + 1]);
      const int code = std::to_integer<std::uint8_t>(stored[j + 1]);
      const int zero = kernel::has_code_values<Codec> ? 128 : Codec::code_zero;
      if (code - zero != number) FAIL("forms disagree at " << j);
      float value = scales[j / part] * static_cast<float>(number);
      if (Codec::has_min) value = value + mins[j / part];
      if (!nibble_test::is_same_float(value, expected[j])) {
        FAIL(nibble::to_string(Codec::encoding)
             << " element " << j << ": " << value << " instead of " << expected[j]);
      }
    }
    const bool is_beside = stored.front() != std::byte{0} || stored.back() != std::byte{0} ||
                           counted.front() != std::byte{0} || counted.back() != std::byte{0};
    if (is_beside) FAIL("wrote beside the codes");
  }
}

template <class Architecture>
void check_unpacked_codes() {
  int codecs = 0;
  for (const nibble::encoding_description& row : nibble::encodings) {
    if (!nibble::is_decodable(row.encoding)) continue;
    nibble::visit_codec(row.encoding, "w", [&]<nibble::Codec Codec>(Codec) {
      if constexpr (nibble::BitCodec<Codec>) {
        require_unpacked_codes<Architecture, Codec>();
        ++codecs;
      }
    });
  }
  CHECK(codecs == 10);
}

TEST_CASE("codes in several places are unpacked to what the scalar codec reads", "[unpack_codes]") {
  SECTION("best architecture") { check_unpacked_codes<simd::best_architecture>(); }
  SECTION("portable") { check_unpacked_codes<simd::portable>(); }
}

TEST_CASE("a block's header is what its codes leave", "[unpack_codes]") {
  const auto is_range = [](const kernel::code_range& range, std::size_t first, std::size_t last) {
    return range.first == first && range.last == last;
  };
  CHECK(is_range(kernel::codes_of_block<nibble::q4_k>(), 16, 144));
  CHECK(is_range(kernel::codes_of_block<nibble::q5_k>(), 16, 176));
  CHECK(is_range(kernel::codes_of_block<nibble::q6_k>(), 0, 192));
  CHECK(is_range(kernel::codes_of_block<nibble::q2_k>(), 16, 80));
  CHECK(is_range(kernel::codes_of_block<nibble::q3_k>(), 0, 96));
  CHECK(is_range(kernel::codes_of_block<nibble::q5_1>(), 4, 24));
  CHECK(is_range(kernel::codes_of_block<nibble::iq4_xs>(), 8, 136));
  CHECK(is_range(kernel::codes_of_block<nibble::mxfp4>(), 1, 17));
}

}  // namespace

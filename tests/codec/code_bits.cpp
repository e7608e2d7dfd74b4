#include <nibble/codec/code_bits.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <nibble/codec/codecs.hpp>

#include <codec/independent_decoder.hpp>
#include <support/catch.hpp>
#include <support/random_values.hpp>

namespace {

/// Bit `bit` of code j, as the description says.
int described_bit(const std::byte* block, const nibble::code_bits& bits, std::size_t j,
                  std::uint32_t bit) {
  const auto read = [&](std::size_t at, std::size_t place) {
    return std::to_integer<int>(block[bits.at_byte + at]) >> place & 1;
  };
  switch (bits.layout) {
    case nibble::bit_layout::bytes: return read(j, bits.shift + bit);
    case nibble::bit_layout::nibble_halves: return read(j % 16, j / 16 * 4 + bit);
    case nibble::bit_layout::single_bits: return read(j / 8, j % 8);
  }
  return -1;
}

/// Swaps the described codes of two elements under one scale in random blocks, and holds that their
/// values are swapped, and no others.
template <class Codec>
void require_description_is_what_unpack_reads() {
  using block = typename Codec::block;
  constexpr std::size_t elements = Codec::block_elements;
  for (std::uint32_t seed = 0; seed < 40; ++seed) {
    auto bytes = nibble_test::random_bytes(sizeof(block), seed);
    std::array<float, elements> before{};
    block of;
    std::memcpy(&of, bytes.data(), sizeof(of));
    Codec::unpack(of, before);
    const std::size_t j = seed * 37 % elements;
    const std::size_t k = j / 16 * 16 + (j + 1 + seed % 15) % 16;
    const auto swap_bits = [&](const nibble::code_bits& bits) {
      for (std::uint32_t bit = 0; bit < bits.count; ++bit) {
        const int of_j = described_bit(bytes.data(), bits, j % 32, bit);
        const int of_k = described_bit(bytes.data(), bits, k % 32, bit);
        if (of_j == of_k) continue;
        const auto flip = [&](std::size_t at, std::size_t place) {
          bytes[bits.at_byte + at] ^= static_cast<std::byte>(1 << place);
        };
        for (const std::size_t own : {j % 32, k % 32}) {
          switch (bits.layout) {
            case nibble::bit_layout::bytes: flip(own, bits.shift + bit); break;
            case nibble::bit_layout::nibble_halves: flip(own % 16, own / 16 * 4 + bit); break;
            case nibble::bit_layout::single_bits: flip(own / 8, own % 8); break;
          }
        }
      }
    };
    swap_bits(Codec::low_bits(j / 32));
    if constexpr (requires { Codec::high_bits(j / 32); }) swap_bits(Codec::high_bits(j / 32));
    std::array<float, elements> after{};
    std::memcpy(&of, bytes.data(), sizeof(of));
    Codec::unpack(of, after);
    std::swap(before[j], before[k]);
    if (nibble_test::first_difference(before, after) != -1) {
      FAIL(nibble::to_string(Codec::encoding) << ": elements " << j << " and " << k);
    }
  }
}

TEST_CASE("each codec's description says where its unpack finds a code's bits", "[code_bits]") {
  int codecs = 0;
  for (const nibble::encoding_description& row : nibble::encodings) {
    if (!nibble::is_decodable(row.encoding)) continue;
    nibble::visit_codec(row.encoding, "w", [&]<nibble::Codec Codec>(Codec) {
      if constexpr (nibble::BitCodec<Codec>) {
        require_description_is_what_unpack_reads<Codec>();
        ++codecs;
      }
    });
  }
  CHECK(codecs == 10);
}

}  // namespace

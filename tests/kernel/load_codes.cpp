#include <nibble/kernel/load_codes.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <nibble/codec/code_packing.hpp>
#include <nibble/simd/simd.hpp>

#include <simd/every_architecture.hpp>
#include <simd/products_against_portable.hpp>
#include <support/catch.hpp>
#include <support/random_values.hpp>

namespace {

namespace kernel = nibble::kernel;
namespace simd = nibble::simd;
using nibble::code_packing;

/// Code j of a block of so many elements, as the packing is documented.
int code_at(const std::byte* codes, code_packing packing, std::size_t elements, std::size_t j) {
  switch (packing) {
    case code_packing::unsigned_bytes: return std::to_integer<std::uint8_t>(codes[j]);
    case code_packing::signed_bytes: return std::to_integer<std::int8_t>(codes[j]);
    case code_packing::nibble_halves: {
      const int pair = std::to_integer<int>(codes[j % (elements / 2)]);
      return j < elements / 2 ? pair % 16 : pair / 16;
    }
    case code_packing::nibble_neighbors: {
      const int pair = std::to_integer<int>(codes[j / 2]);
      return j % 2 == 0 ? pair % 16 : pair / 16;
    }
  }
  return 0;
}

template <class Architecture, code_packing Packing, std::size_t Elements>
void require_vectors(const std::vector<std::byte>& bytes) {
  using integers = simd::vector<std::int32_t, Architecture>;
  for (std::size_t start = 0; start + Elements <= bytes.size(); start += 7) {
    std::array<std::int32_t, Elements> found;
    found.fill(-1000);
    kernel::for_each_code_vector<Architecture, Packing, Elements>(
        bytes.data() + start,
        [&](const integers& codes, std::size_t place) { codes.store_unaligned(found.data() + place); });
    for (std::size_t j = 0; j < Elements; ++j) {
      if (found[j] != code_at(bytes.data() + start, Packing, Elements, j)) {
        FAIL("packing " << static_cast<int>(Packing) << " code " << j << " from byte " << start);
      }
    }
  }
}

template <class Architecture, code_packing Packing>
void require_codes(const std::vector<std::byte>& bytes) {
  using block_tag = simd::block_architecture<Architecture>;
  require_vectors<Architecture, Packing, 32>(bytes);
  require_vectors<Architecture, Packing, 64>(bytes);
  constexpr bool is_split = Packing == code_packing::nibble_neighbors;
  constexpr int bias = Packing == code_packing::signed_bytes ? 128 : 0;
  for (std::size_t start = 0; start + 32 <= bytes.size(); start += 5) {
    const std::byte* const codes = bytes.data() + start;
    const auto as_bytes =
        nibble_test::numbers_of(kernel::load_codes<block_tag, Packing, std::int8_t>(codes));
    const auto as_words =
        nibble_test::numbers_of(kernel::load_codes<block_tag, Packing, std::int16_t>(codes));
    for (std::size_t j = 0; j < 32; ++j) {
      const int code = code_at(codes, Packing, 32, j);
      const std::size_t place = is_split ? j / 2 + j % 2 * 16 : j;
      if (as_bytes[place] != code + bias || as_words[place] != code) {
        FAIL("packing " << static_cast<int>(Packing) << " code " << j << " from byte " << start);
      }
    }
  }
}

TEST_CASE("codes are loaded in their order, whatever their packing", "[load_codes]") {
  const auto bytes = nibble_test::random_bytes(400, 12);
  nibble_test::for_every_architecture([&]<class Architecture>(Architecture) {
    require_codes<Architecture, code_packing::unsigned_bytes>(bytes);
    require_codes<Architecture, code_packing::signed_bytes>(bytes);
    require_codes<Architecture, code_packing::nibble_halves>(bytes);
    require_codes<Architecture, code_packing::nibble_neighbors>(bytes);
  });
  SUCCEED("every packing");
}

}  // namespace

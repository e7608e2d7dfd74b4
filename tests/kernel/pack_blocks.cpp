#include <nibble/kernel/pack_blocks.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <vector>

#include <nibble/codec/q4.hpp>
#include <nibble/codec/q4_k.hpp>
#include <nibble/codec/q8_0.hpp>

#include <support/catch.hpp>
#include <support/compiled_kernels.hpp>
#include <support/random_values.hpp>

namespace {

using nibble::packing_search;

std::vector<std::byte> packed(nibble::values_of_blocks from, std::size_t bytes) {
  std::vector<std::byte> to(bytes, std::byte{0x5A});
  const nibble::packed_blocks done = nibble::kernel::pack_blocks<>(from, to.data());
  REQUIRE(done.status == nibble::pack_status::packed);
  return to;
}

/// Several blocks, the last one short, against each of them by itself: bytes and what lies behind them.
template <class Codec>
void check_blocks(std::size_t count, packing_search search, bool weighs) {
  constexpr std::size_t block_elements = Codec::block_elements;
  const auto values = nibble_test::heavy_tailed(count, static_cast<std::uint32_t>(count));
  std::vector<float> importance;
  if (weighs) {
    std::mt19937 generator(static_cast<std::uint32_t>(count));
    std::lognormal_distribution<float> spread(0.0F, 2.0F);
    for (std::size_t i = 0; i < count; ++i) importance.push_back(spread(generator));
  }
  const std::size_t blocks = (count + block_elements - 1) / block_elements;
  const auto found =
      packed({.which = Codec::encoding, .values = values, .importance = importance, .search = search},
             blocks * sizeof(typename Codec::block) + 1);
  CHECK(found.back() == std::byte{0x5A});
  for (std::size_t i = 0; i < blocks; ++i) {
    const std::size_t first = i * block_elements;
    const std::size_t some = std::min(block_elements, count - first);
    typename Codec::block block;
    const nibble::block_packing how{
        .search = search,
        .importance = weighs ? std::span<const float>(importance).subspan(first, some)
                             : std::span<const float>()};
    REQUIRE(Codec::pack(std::span(values).subspan(first, some), block, how) ==
            nibble::pack_status::packed);
    CHECK(std::memcmp(found.data() + i * sizeof(block), &block, sizeof(block)) == 0);
  }
}

TEMPLATE_TEST_CASE("blocks are packed as each of them is by itself", "[pack_blocks]", nibble::q4,
                   nibble::q8_0, nibble::q4_k) {
  for (const std::size_t count : {1U, 31U, 32U, 33U, 255U, 256U, 257U, 1000U}) {
    for (const bool weighs : {false, true}) {
      check_blocks<TestType>(count, packing_search::fast, weighs);
      check_blocks<TestType>(count, packing_search::best, weighs);
    }
  }
}

TEST_CASE("packing ends at the first block that cannot be packed, and tells which", "[pack_blocks]") {
  auto values = nibble_test::gaussian(32 * 7, 5);
  values[32 * 4 + 3] = 1e30F;
  values[32 * 6] = 1e30F;
  std::vector<std::byte> to(7 * sizeof(nibble::q4::block), std::byte{0x5A});
  const nibble::packed_blocks done =
      nibble::kernel::pack_blocks<>({.which = nibble::encoding::q4, .values = values}, to.data());
  CHECK(done.status == nibble::pack_status::scale_overflow);
  CHECK(done.values == 32 * 4);
  const auto before = packed({.which = nibble::encoding::q4, .values = std::span(values).first(32 * 4)},
                             4 * sizeof(nibble::q4::block));
  CHECK(std::memcmp(to.data(), before.data(), before.size()) == 0);
  for (std::size_t i = before.size(); i < to.size(); ++i) CHECK(to[i] == std::byte{0x5A});
}

TEST_CASE("no values are no blocks", "[pack_blocks]") {
  CHECK(packed({.which = nibble::encoding::q4, .values = {}}, 1) == std::vector{std::byte{0x5A}});
}

}  // namespace

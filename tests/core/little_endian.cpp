#include <nibble/core/little_endian.hpp>

#include <cstddef>
#include <cstdint>
#include <vector>

#include <support/apr_bytes.hpp>
#include <support/catch.hpp>

TEST_CASE("numbers are loaded and stored at any address", "[little_endian]") {
  std::vector<std::byte> bytes(40);
  for (std::size_t at = 0; at < 16; ++at) {
    nibble::store_number(bytes, at, std::uint64_t{0x0123456789ABCDEF});
    CHECK(nibble_test::number_at<std::uint64_t>(bytes, at) == 0x0123456789ABCDEFU);
    CHECK(nibble::load_number<std::uint32_t>(bytes, at) == 0x89ABCDEFU);
    CHECK(nibble::load_number<std::uint16_t>(bytes, at + 6) == 0x0123U);
  }
}

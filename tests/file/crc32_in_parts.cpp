#include <nibble/file/crc32_in_parts.hpp>

#include <cstddef>
#include <span>
#include <vector>

#include <support/apr_bytes.hpp>
#include <support/bytes.hpp>
#include <support/catch.hpp>
#include <support/outcome.hpp>
#include <support/random_values.hpp>
#include <support/shuffled_executor.hpp>

TEST_CASE("a checksum in parts is that of the whole, at every border of a part", "[crc32_in_parts]") {
  constexpr std::size_t part = std::size_t{1} << 22U;
  const auto bytes = nibble_test::random_bytes(2 * part + 17, 5);
  nibble_test::shuffled_executor threads(3);
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, part - 1, part, part + 1, 2 * part, 2 * part + 17}) {
    const auto some = std::span<const std::byte>(bytes).first(size);
    CAPTURE(size);
    CHECK(nibble::crc32_in_parts(some) == nibble_test::plain_crc32(some));
    CHECK(nibble::crc32_in_parts(some, {.executor = &threads}) == nibble_test::plain_crc32(some));
  }
  CHECK(threads.tasks_run > 4);
}

#include <nibble/file/crc32.hpp>

#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include <support/apr_bytes.hpp>
#include <support/bytes.hpp>
#include <support/catch.hpp>
#include <support/outcome.hpp>
#include <support/random_values.hpp>

using nibble::crc32_sum;
using nibble_test::plain_crc32;

TEST_CASE("CRC-32 gives the published check value", "[crc32]") {
  const auto digits = nibble_test::bytes_of("123456789");
  CHECK(crc32_sum(digits).value() == 0xCBF43926U);
  CHECK(crc32_sum(digits).size_bytes() == 9);
}

TEST_CASE("CRC-32 of no bytes is 0", "[crc32]") {
  CHECK(crc32_sum().value() == 0);
  CHECK(crc32_sum().size_bytes() == 0);
  CHECK(crc32_sum(std::span<const std::byte>()).value() == 0);
}

TEST_CASE("CRC-32 of random bytes is the definition's", "[crc32]") {
  for (std::size_t size = 1; size < 70; ++size) {
    const auto bytes = nibble_test::random_bytes(size, static_cast<std::uint32_t>(size));
    CHECK(crc32_sum(bytes).value() == plain_crc32(bytes));
  }
}

TEST_CASE("CRC-32 sums of runs join to the sum of the whole", "[crc32]") {
  const auto bytes = nibble_test::random_bytes(100'003, 7);
  const std::span<const std::byte> all(bytes);
  std::mt19937 generator(11);
  for (int turn = 0; turn < 20; ++turn) {
    crc32_sum joined;
    std::size_t at = 0;
    while (at < bytes.size()) {
      const std::size_t run =
          std::min<std::size_t>(generator() % (turn % 2 == 0 ? 30'000U : 300U), bytes.size() - at);
      joined += crc32_sum(all.subspan(at, run));
      at += run;
    }
    CHECK(joined.value() == plain_crc32(bytes));
    CHECK(joined.size_bytes() == bytes.size());
  }
}

TEST_CASE("CRC-32 sums do not join in any other order", "[crc32]") {
  const auto first = nibble_test::bytes_of("first");
  const auto second = nibble_test::bytes_of("then another");
  crc32_sum swapped(second);
  swapped += crc32_sum(first);
  CHECK(swapped.value() != plain_crc32(nibble_test::bytes_of("firstthen another")));
  CHECK(swapped.value() == plain_crc32(nibble_test::bytes_of("then anotherfirst")));
}

TEST_CASE("CRC-32 of zeros is that of as many zero bytes", "[crc32]") {
  for (const std::size_t count : {0U, 1U, 3U, 4U, 63U, 64U, 65U, 127U, 128U, 1000U, 100'000U}) {
    const std::vector<std::byte> zeros(count);
    CHECK(crc32_sum::of_zeros(count).value() == plain_crc32(zeros));
    CHECK(crc32_sum::of_zeros(count).size_bytes() == count);
  }
}

TEST_CASE("CRC-32 joins behind zeros as a file's padding needs it", "[crc32]") {
  for (std::size_t padding = 0; padding < 130; ++padding) {
    auto bytes = nibble_test::random_bytes(77, 5);
    crc32_sum sum(bytes);
    bytes.resize(bytes.size() + padding);
    sum += crc32_sum::of_zeros(padding);
    const auto more = nibble_test::random_bytes(5, 6);
    bytes.insert(bytes.end(), more.begin(), more.end());
    sum += crc32_sum(more);
    CHECK(sum.value() == plain_crc32(bytes));
  }
}

#include <nibble/codec/code_books.hpp>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <support/apr_bytes.hpp>
#include <support/catch.hpp>

namespace {

/// The digits of an entry, the first element's first.
std::vector<std::size_t> digits_of(std::uint16_t entry, std::size_t count) {
  std::vector<std::size_t> digits;
  const std::size_t bits = count == 8 ? 2 : 3;
  for (std::size_t k = 0; k < count; ++k) {
    digits.push_back(static_cast<std::size_t>(entry) >> (bits * k) & ((1U << bits) - 1));
  }
  return digits;
}

/// CRC-32 of a book as ggml has it: a byte for each digit.
template <std::size_t Values>
std::uint32_t crc32_of_book(std::span<const std::uint16_t> book, std::size_t elements,
                            const std::array<std::uint8_t, Values>& values) {
  std::vector<std::byte> bytes;
  for (const std::uint16_t entry : book) {
    for (const std::size_t digit : digits_of(entry, elements)) {
      bytes.push_back(std::byte{values.at(digit)});
    }
  }
  return nibble_test::plain_crc32(bytes);
}

// Checksums of the tables of ggml-common.h, 0.21, taken from its text by another program.
TEST_CASE("the code books are ggml's", "[code_books]") {
  constexpr std::array<std::uint8_t, 3> of_iq2 = {8, 25, 43};
  CHECK(crc32_of_book(nibble::iq2_xxs_book, 8, of_iq2) == 0x9924FF02);
  CHECK(crc32_of_book(nibble::iq2_xs_book, 8, of_iq2) == 0xFA1E1BFD);
  CHECK(crc32_of_book(nibble::iq2_s_book, 8, of_iq2) == 0x25AE5BF1);
  CHECK(crc32_of_book(nibble::iq3_xxs_book, 4,
                      std::array<std::uint8_t, 8>{4, 12, 20, 28, 36, 44, 52, 62}) == 0x07BA9ED0);
  CHECK(crc32_of_book(nibble::iq3_s_book, 4, std::array<std::uint8_t, 8>{1, 3, 5, 7, 9, 11, 13, 15}) ==
        0xF576E4F3);
  CHECK(crc32_of_book(nibble::iq1_book, 8, std::array<std::uint8_t, 3>{0xFF, 0, 1}) == 0xB85E6CCF);
}

TEST_CASE("the entries of a code book ascend", "[code_books]") {
  const auto require_ascending = [](std::span<const std::uint16_t> book) {
    for (std::size_t i = 1; i < book.size(); ++i) {
      if (book[i - 1] >= book[i]) FAIL("entry " << i << " of " << book.size());
    }
  };
  require_ascending(nibble::iq2_xxs_book);
  require_ascending(nibble::iq2_xs_book);
  require_ascending(nibble::iq2_s_book);
  require_ascending(nibble::iq3_xxs_book);
  require_ascending(nibble::iq3_s_book);
  require_ascending(nibble::iq1_book);
  SUCCEED("every entry");
}

TEST_CASE("digits of IQ2 and IQ3_XXS add up to even numbers", "[code_books]") {
  const auto require_even = [](std::span<const std::uint16_t> book, std::size_t elements) {
    for (const std::uint16_t entry : book) {
      std::size_t sum = 0;
      for (const std::size_t digit : digits_of(entry, elements)) sum += digit;
      if (sum % 2 != 0) FAIL("entry " << entry << " of " << book.size());
    }
  };
  require_even(nibble::iq2_xxs_book, 8);
  require_even(nibble::iq2_xs_book, 8);
  require_even(nibble::iq2_s_book, 8);
  require_even(nibble::iq3_xxs_book, 4);
  SUCCEED("every entry");
}

TEST_CASE("the eighth of seven stored signs makes minus signs even in number", "[code_books]") {
  for (std::uint32_t seven = 0; seven < 128; ++seven) {
    const std::uint32_t eight = nibble::even_signs(seven);
    CAPTURE(seven);
    CHECK(eight < 256);
    CHECK(eight % 128 == seven);
    CHECK(std::popcount(eight) % 2 == 0);
  }
}

}  // namespace

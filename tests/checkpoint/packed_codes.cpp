#include <nibble/checkpoint/packed_codes.hpp>

#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

#include <support/catch.hpp>

TEST_CASE("codes of every width are read out of words side by side and apart", "[packed_codes]") {
  std::mt19937 random(3);
  for (unsigned bits = 1; bits <= 16; ++bits) {
    for (const std::size_t stride : {std::size_t{1}, std::size_t{5}}) {
      CAPTURE(bits, stride);
      constexpr std::size_t count = 101;
      // One string of bits, the lowest of each code first.
      std::vector<std::uint32_t> codes;
      std::string text;
      for (std::size_t i = 0; i < count; ++i) {
        codes.push_back(static_cast<std::uint32_t>(random()) % (1U << bits));
        for (unsigned bit = 0; bit < bits; ++bit) text += (codes.back() >> bit & 1U) != 0 ? '1' : '0';
      }
      const std::size_t words = (text.size() + 31) / 32;
      constexpr std::size_t first = 2;
      std::vector<std::uint32_t> stored(first + words * stride, 0xDEADBEEFU);
      for (std::size_t word = 0; word < words; ++word) {
        std::uint32_t& to = stored[first + word * stride];
        to = 0;
        for (std::size_t bit = 0; bit < 32 && word * 32 + bit < text.size(); ++bit) {
          if (text[word * 32 + bit] == '1') to |= 1U << bit;
        }
      }
      const nibble::packed_codes packed{std::as_bytes(std::span(stored)), bits};
      for (std::size_t i = 0; i < count; ++i) REQUIRE(packed.at(first, stride, i) == codes[i]);
    }
  }
}

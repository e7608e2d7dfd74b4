#include <nibble/codec/interleaved_rows.hpp>

#include <array>
#include <cstddef>
#include <cstdint>

#include <nibble/codec/q4_r8.hpp>
#include <nibble/codec/q8_r8.hpp>
#include <nibble/core/encoding.hpp>

#include <codec/hex_bytes.hpp>
#include <codec/independent_decoder.hpp>
#include <support/catch.hpp>
#include <support/random_values.hpp>

namespace {

TEMPLATE_TEST_CASE("interleaved blocks of any bytes hold the values that format/README.md says",
                   "[interleaved_rows]", nibble::q4_r8, nibble::q8_r8) {
  using block_type = typename TestType::block;
  for (std::uint32_t seed = 0; seed < 50; ++seed) {
    const auto stored = nibble_test::random_bytes(sizeof(block_type), seed);
    const auto block = nibble_test::block_from<block_type>(stored);
    const nibble_test::independent_decoder documented(nibble::to_string(TestType::encoding), stored,
                                                      32);
    for (std::size_t row = 0; row < 8; ++row) {
      std::array<float, 32> values{};
      TestType::row_codec::unpack(TestType::load_row(block, row), values);
      const auto expected = documented.rows(row, 1);
      if (nibble_test::first_difference(values, expected) != -1) FAIL("row " << row);
    }
  }
  SUCCEED("every row");
}

TEMPLATE_TEST_CASE("a row that is put into an interleaved block leaves the others as they are",
                   "[interleaved_rows]", nibble::q4_r8, nibble::q8_r8) {
  using block_type = typename TestType::block;
  using row_type = typename TestType::row_codec::block;
  const auto before =
      nibble_test::block_from<block_type>(nibble_test::random_bytes(sizeof(block_type), 3));
  const auto put_in = nibble_test::block_from<row_type>(nibble_test::random_bytes(sizeof(row_type), 4));
  for (std::size_t row = 0; row < 8; ++row) {
    block_type after = before;
    TestType::store_row(after, row, put_in);
    for (std::size_t other = 0; other < 8; ++other) {
      CAPTURE(row, other);
      const auto expected =
          nibble_test::bytes_of(other == row ? put_in : TestType::load_row(before, other));
      CHECK(nibble_test::bytes_of(TestType::load_row(after, other)) == expected);
    }
  }
}

}  // namespace

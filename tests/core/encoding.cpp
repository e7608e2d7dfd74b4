#include <nibble/core/encoding.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include <support/catch.hpp>

namespace {

using nibble::block_run;
using nibble::encoding;
using nibble::encoding_family;
using nibble::shape;
using nibble::stored_bytes;

enum class runs { along_tensor, along_row, along_eight_rows };

/// format/README.md, sections 2 and 3, a second time: the code's own table is held against this one.
struct documented_encoding {
  std::string_view name;
  std::uint64_t block_elements;
  std::uint64_t block_bytes;
  std::uint64_t bytes_before_blocks;
  runs run;
  std::optional<std::uint8_t> id;
  std::optional<std::uint8_t> legacy_id;
  bool has_min;
  std::optional<std::uint8_t> gguf_type;  ///< ggml's own id
  std::string_view safetensors_name;

  /// How many rows a block holds elements of, where it does not run on, and how many of each.
  [[nodiscard]] std::uint64_t block_rows() const { return run == runs::along_eight_rows ? 8 : 1; }
  [[nodiscard]] std::uint64_t block_cols() const { return block_elements / block_rows(); }
};

constexpr std::optional<std::uint8_t> none{};
constexpr std::uint8_t id8 = 8;
constexpr std::uint8_t id9 = 9;

constexpr std::array<documented_encoding, 53> documented = {{
    {"f32", 1, 4, 0, runs::along_tensor, 0, none, false, 0, "F32"},
    {"f16", 1, 2, 0, runs::along_tensor, 1, none, false, 1, "F16"},
    {"bf16", 1, 2, 0, runs::along_tensor, 30, none, false, 30, "BF16"},
    {"f64", 1, 8, 0, runs::along_tensor, 3, none, false, 28, "F64"},
    {"i32", 1, 4, 0, runs::along_tensor, 4, none, false, 26, "I32"},
    {"i64", 1, 8, 0, runs::along_tensor, 5, none, false, 27, "I64"},
    {"i8", 1, 1, 0, runs::along_tensor, 6, none, false, 24, "I8"},
    {"u8", 1, 1, 0, runs::along_tensor, 7, none, false, none, "U8"},
    {"i16", 1, 2, 0, runs::along_tensor, none, none, false, 25, "I16"},
    {"u16", 1, 2, 0, runs::along_tensor, none, none, false, none, "U16"},
    {"u32", 1, 4, 0, runs::along_tensor, none, none, false, none, "U32"},
    {"u64", 1, 8, 0, runs::along_tensor, none, none, false, none, "U64"},
    {"bool8", 1, 1, 0, runs::along_tensor, none, none, false, none, "BOOL"},
    {"c64", 1, 8, 0, runs::along_tensor, none, none, false, none, "C64"},
    {"f8_e4m3", 1, 1, 0, runs::along_tensor, none, none, false, none, "F8_E4M3"},
    {"f8_e5m2", 1, 1, 0, runs::along_tensor, none, none, false, none, "F8_E5M2"},
    {"f8_e8m0", 1, 1, 0, runs::along_tensor, none, none, false, none, "F8_E8M0"},
    {"f8_e4m3fnuz", 1, 1, 0, runs::along_tensor, none, none, false, none, "F8_E4M3FNUZ"},
    {"f8_e5m2fnuz", 1, 1, 0, runs::along_tensor, none, none, false, none, "F8_E5M2FNUZ"},
    {"f6_e2m3", 4, 3, 0, runs::along_tensor, none, none, false, none, "F6_E2M3"},
    {"f6_e3m2", 4, 3, 0, runs::along_tensor, none, none, false, none, "F6_E3M2"},
    {"f4", 2, 1, 0, runs::along_tensor, none, none, false, none, "F4"},
    {"q8", 32, 36, 0, runs::along_row, 9, none, true, none, ""},
    {"q4", 32, 20, 0, runs::along_row, 8, none, true, none, ""},
    {"apr_q8", 1, 1, 4, runs::along_tensor, 129, id9, false, none, ""},
    {"apr_q4", 32, 18, 0, runs::along_tensor, 128, id8, false, none, ""},
    {"q4_0", 32, 18, 0, runs::along_row, 2, none, false, 2, ""},
    {"q4_1", 32, 20, 0, runs::along_row, 3, none, true, 3, ""},
    {"q5_0", 32, 22, 0, runs::along_row, 6, none, false, 6, ""},
    {"q5_1", 32, 24, 0, runs::along_row, 7, none, true, 7, ""},
    {"q8_0", 32, 34, 0, runs::along_row, 8, none, false, 8, ""},
    {"q2_k", 256, 84, 0, runs::along_row, 10, none, true, 10, ""},
    {"q3_k", 256, 110, 0, runs::along_row, 11, none, false, 11, ""},
    {"q4_k", 256, 144, 0, runs::along_row, 12, none, true, 12, ""},
    {"q5_k", 256, 176, 0, runs::along_row, 13, none, true, 13, ""},
    {"q6_k", 256, 210, 0, runs::along_row, 14, none, false, 14, ""},
    {"iq4_nl", 32, 18, 0, runs::along_row, 20, none, false, 20, ""},
    {"iq4_xs", 256, 136, 0, runs::along_row, 23, none, false, 23, ""},
    {"mxfp4", 32, 17, 0, runs::along_row, 39, none, false, 39, ""},
    {"iq2_xxs", 256, 66, 0, runs::along_row, 16, none, false, 16, ""},
    {"iq2_xs", 256, 74, 0, runs::along_row, 17, none, false, 17, ""},
    {"iq3_xxs", 256, 98, 0, runs::along_row, 18, none, false, 18, ""},
    {"iq1_s", 256, 50, 0, runs::along_row, 19, none, false, 19, ""},
    {"iq3_s", 256, 110, 0, runs::along_row, 21, none, false, 21, ""},
    {"iq2_s", 256, 82, 0, runs::along_row, 22, none, false, 22, ""},
    {"iq1_m", 256, 56, 0, runs::along_row, 29, none, false, 29, ""},
    {"tq1_0", 256, 54, 0, runs::along_row, 34, none, false, 34, ""},
    {"tq2_0", 256, 66, 0, runs::along_row, 35, none, false, 35, ""},
    {"nvfp4", 64, 36, 0, runs::along_row, 40, none, false, 40, ""},
    {"q1_0", 128, 18, 0, runs::along_row, 41, none, false, 41, ""},
    {"q2_0", 64, 18, 0, runs::along_row, 42, none, false, 42, ""},
    {"q4_r8", 256, 160, 0, runs::along_eight_rows, 144, none, true, none, ""},
    {"q8_r8", 256, 288, 0, runs::along_eight_rows, 145, none, true, none, ""},
}};

TEST_CASE("the table says of every encoding what format/README.md says", "[encoding]") {
  REQUIRE(nibble::encodings.size() == documented.size());
  for (const documented_encoding& expected : documented) {
    CAPTURE(expected.name);
    const auto which = nibble::encoding_from_name(expected.name);
    REQUIRE(which);
    const nibble::encoding_description& row = nibble::describe(*which);
    CHECK(row.encoding == *which);
    CHECK(row.name == expected.name);
    CHECK(nibble::to_string(*which) == expected.name);
    CHECK(row.block_elements == expected.block_elements);
    CHECK(row.block_bytes == expected.block_bytes);
    CHECK(row.header_bytes == expected.bytes_before_blocks);
    CHECK((row.blocks_run_along == block_run::row) == (expected.run == runs::along_row));
    CHECK((row.blocks_run_along == block_run::rows_8) == (expected.run == runs::along_eight_rows));
    CHECK(row.block_rows() == expected.block_rows());
    CHECK(row.block_cols() == expected.block_cols());
    CHECK(row.apr_dtype_id == expected.id);
    CHECK(row.apr_legacy_dtype_id == expected.legacy_id);
    CHECK(row.has_min == expected.has_min);
    CHECK(row.gguf_type == expected.gguf_type);
    CHECK(row.safetensors_dtype == expected.safetensors_name);
    CHECK(row.has_blocks() == (expected.name != "apr_q8"));
    const bool is_quantized = expected.name == "apr_q8" ||
                              (expected.block_elements != 1 && expected.safetensors_name.empty());
    CHECK(row.is_quantized() == is_quantized);
    // A k-quant is a super-block of 256 whose name ends in _k.
    CHECK((row.family == encoding_family::ggml_k) == expected.name.ends_with("_k"));
    CHECK((row.family == encoding_family::apr) == expected.name.starts_with("apr_"));
    CHECK((row.family == encoding_family::nibble) ==
          (expected.name == "q4" || expected.name == "q8" || expected.name.ends_with("_r8")));
    CHECK(row.code_bits * row.block_elements <= row.block_bytes * 8);
  }
}

TEST_CASE("names and enumerators belong to each other one to one", "[encoding]") {
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < nibble::encodings.size(); ++i) {
    CHECK(static_cast<std::size_t>(nibble::encodings[i].encoding) == i);
    names.insert(nibble::encodings[i].name);
  }
  CHECK(names.size() == nibble::encodings.size());
  for (const std::string_view unknown : {"", "q", "Q4", "q4 ", "q4_", "f8", "F32", "q8_1"}) {
    CHECK_FALSE(nibble::encoding_from_name(unknown));
  }
  static_assert(nibble::encoding_from_name("apr_q4") == encoding::apr_q4);
  static_assert(nibble::to_string(encoding::bf16) == "bf16");
}

TEST_CASE("stored bytes are counted block by block for every small matrix", "[encoding]") {
  std::size_t matrices = 0;
  for (const documented_encoding& expected : documented) {
    const encoding which = *nibble::encoding_from_name(expected.name);
    for (const std::uint64_t rows : {0U, 1U, 2U, 3U, 4U, 5U, 7U, 8U, 9U, 16U, 17U}) {
      for (std::uint64_t cols = 0; cols <= 600; ++cols) {
        std::uint64_t blocks = 0;
        const bool by_row = expected.run != runs::along_tensor;
        for (std::uint64_t run = 0; run < (by_row ? rows : 1); run += expected.block_rows()) {
          const std::uint64_t elements = by_row ? cols : rows * cols;
          for (std::uint64_t at = 0; at < elements; at += expected.block_cols()) ++blocks;
        }
        const std::uint64_t bytes =
            blocks * expected.block_bytes + (blocks != 0 ? expected.bytes_before_blocks : 0);
        if (stored_bytes(which, shape{rows, cols}) != bytes ||
            stored_bytes(nibble::describe(which), rows, cols) != bytes) {
          FAIL(fmt::format("{} {}x{}: not {}", expected.name, rows, cols, bytes));
        }
        ++matrices;
      }
    }
  }
  CHECK(matrices == 53 * 11 * 601);
}

TEST_CASE("stored bytes are those of the matrices that format/README.md and the fixtures name",
          "[encoding]") {
  // 172 columns are five blocks and a partial sixth, in each of 64 rows.
  CHECK(stored_bytes(encoding::q8, shape{64, 172}) == 64U * 6U * 36U);
  CHECK(stored_bytes(encoding::q4, shape{64, 172}) == 64U * 6U * 20U);
  // Along the tensor the 11,008 elements are 344 whole blocks.
  CHECK(stored_bytes(encoding::apr_q4, shape{64, 172}) == 6192U);
  CHECK(stored_bytes(encoding::apr_q8, shape{64, 172}) == 11012U);
  CHECK(stored_bytes(encoding::apr_q4, shape{5, 31}) == 90U);
  CHECK(stored_bytes(encoding::apr_q8, shape()) == 5U);
  CHECK(stored_bytes(encoding::apr_q8, shape{0}) == 0U);
  CHECK(stored_bytes(encoding::q4_k, shape{2, 200}) == 288U);
  CHECK(stored_bytes(encoding::q8, shape{2, 3, 33}) == 6U * 2U * 36U);
  // 9 rows are counted up to 16, 33 columns to 64.
  CHECK(stored_bytes(encoding::q4_r8, shape{9, 33}) == 2U * 2U * 160U);
  CHECK(stored_bytes(encoding::q8_r8, shape{3, 3, 33}) == 2U * 2U * 288U);
  CHECK(stored_bytes(encoding::q4_r8, shape{64, 172}) == stored_bytes(encoding::q4, shape{64, 172}));
  CHECK(stored_bytes(encoding::q4_r8, shape{32}) == 160U);

  // SmolLM-135M's layer 0: three apr_q8 tensors of 552,960 elements in all.
  const std::array<shape, 3> attention = {shape{576, 576}, shape{192, 576}, shape{192, 576}};
  std::uint64_t elements = 0;
  std::uint64_t bytes = 0;
  for (const shape& weight : attention) {
    elements += weight.elements();
    bytes += *stored_bytes(encoding::apr_q8, weight);
  }
  CHECK(elements == 552960U);
  CHECK(bytes == 552972U);
}

TEST_CASE("stored bytes beyond 64 bits are nothing, and those within are exact", "[encoding]") {
  __extension__ using exact_number = unsigned __int128;
  constexpr std::uint64_t power_63 = std::uint64_t{1} << 63U;
  std::size_t overflows = 0;
  for (const documented_encoding& expected : documented) {
    const encoding which = *nibble::encoding_from_name(expected.name);
    for (unsigned rows_exponent = 0; rows_exponent <= 63; ++rows_exponent) {
      const std::uint64_t rows = std::uint64_t{1} << rows_exponent;
      for (const std::uint64_t cols : {power_63 / rows, power_63 / rows / 2 + 1, std::uint64_t{1}}) {
        if (cols == 0 || exact_number{rows} * cols > power_63) continue;
        const exact_number unit = expected.block_cols();
        const exact_number block_rows = expected.block_rows();
        const exact_number blocks =
            expected.run != runs::along_tensor
                ? (rows + block_rows - 1) / block_rows * ((cols + unit - 1) / unit)
                : (exact_number{rows} * cols + unit - 1) / unit;
        const exact_number exact = blocks * expected.block_bytes + expected.bytes_before_blocks;
        const bool fits = exact <= std::numeric_limits<std::uint64_t>::max();
        const auto found = stored_bytes(which, shape{rows, cols});
        if (found.has_value() != fits || (fits && *found != exact)) {
          FAIL(fmt::format("{} {}x{}", expected.name, rows, cols));
        }
        overflows += fits ? 0U : 1U;
      }
    }
  }
  CHECK(overflows > 100);
  CHECK_FALSE(stored_bytes(encoding::f64, shape{power_63}));
  CHECK_FALSE(stored_bytes(nibble::describe(encoding::u8), power_63, 2));
  CHECK_FALSE(
      stored_bytes(nibble::describe(encoding::apr_q8), std::numeric_limits<std::uint64_t>::max(), 1));
  CHECK(stored_bytes(encoding::f64, shape{power_63, 0}) == 0U);
}

TEST_CASE("the bytes of rows are those whose elements are theirs alone", "[encoding]") {
  using nibble::byte_range;
  const auto bytes_of = [](encoding which, std::uint64_t rows, std::uint64_t cols, std::uint64_t first,
                           std::uint64_t count) {
    return nibble::bytes_of_rows(nibble::describe(which), rows, cols, first, count);
  };
  std::size_t own = 0;
  std::size_t shared = 0;
  for (const documented_encoding& expected : documented) {
    const encoding which = *nibble::encoding_from_name(expected.name);
    for (const std::uint64_t cols : {0U, 1U, 2U, 8U, 31U, 32U, 33U, 256U, 300U}) {
      constexpr std::uint64_t rows = 9;
      for (std::uint64_t first = 0; first <= rows; ++first) {
        for (std::uint64_t count = 0; count <= rows - first; ++count) {
          CAPTURE(expected.name, cols, first, count);
          const auto found = bytes_of(which, rows, cols, first, count);
          const std::uint64_t begin = first * cols;
          const std::uint64_t end = begin + count * cols;
          if (begin == end) {
            REQUIRE(found == byte_range{0, 0});
          } else if (expected.run == runs::along_eight_rows) {
            // Row by row: no block may hold these rows and others.
            bool is_shared = false;
            for (std::uint64_t row = 0; row < rows; ++row) {
              const bool is_theirs = row >= first && row < first + count;
              for (std::uint64_t other = row / 8 * 8; other < std::min(row / 8 * 8 + 8, rows);
                   ++other) {
                is_shared = is_shared || is_theirs != (other >= first && other < first + count);
              }
            }
            REQUIRE(found.has_value() == !is_shared);
            if (found) {
              REQUIRE(*found == byte_range{*stored_bytes(which, shape{first, cols}),
                                           *stored_bytes(which, shape{count, cols})});
            }
            ++(found ? own : shared);
          } else if (expected.run == runs::along_row) {
            // Rows are tensors of their own, one behind the other.
            REQUIRE(found == byte_range{first * *stored_bytes(which, shape{1, cols}),
                                        count * *stored_bytes(which, shape{1, cols})});
          } else {
            // Element by element: no block may hold elements of these rows and of others.
            bool is_shared = expected.bytes_before_blocks != 0 && count != rows;
            for (std::uint64_t i = 0; i < rows * cols; ++i) {
              const bool is_theirs = i >= begin && i < end;
              const std::uint64_t block = i / expected.block_elements * expected.block_elements;
              const bool starts_theirs = block >= begin && block < end;
              is_shared = is_shared || is_theirs != starts_theirs;
            }
            REQUIRE(found.has_value() == !is_shared);
            if (found) {
              const std::uint64_t blocks =
                  (end - begin + expected.block_elements - 1) / expected.block_elements;
              REQUIRE(*found ==
                      byte_range{begin / expected.block_elements * expected.block_bytes,
                                 blocks * expected.block_bytes + expected.bytes_before_blocks});
            }
            ++(found ? own : shared);
          }
        }
      }
    }
  }
  CHECK(own > 1000);
  CHECK(shared > 100);
}

TEST_CASE("the bytes of columns are those of blocks whose elements are theirs alone", "[encoding]") {
  using nibble::byte_range;
  std::size_t own = 0;
  std::size_t shared = 0;
  for (const documented_encoding& expected : documented) {
    const encoding which = *nibble::encoding_from_name(expected.name);
    const auto& how = nibble::describe(which);
    for (const std::uint64_t cols : {0U, 1U, 2U, 8U, 31U, 32U, 33U, 256U, 300U, 512U}) {
      // A second row starts with a block where it does not share one with the first.
      const bool starts_anew =
          expected.bytes_before_blocks == 0 &&
          (expected.run != runs::along_tensor || cols % expected.block_elements == 0);
      const std::uint64_t row_blocks = (cols + expected.block_cols() - 1) / expected.block_cols();
      const auto row_bytes = nibble::stored_row_bytes(how, cols);
      const auto block_row_bytes = nibble::stored_block_row_bytes(how, cols);
      CAPTURE(expected.name, cols);
      REQUIRE(row_bytes.has_value() == (starts_anew && expected.run != runs::along_eight_rows));
      REQUIRE(block_row_bytes.has_value() == starts_anew);
      if (row_bytes) REQUIRE(*row_bytes == row_blocks * expected.block_bytes);
      if (block_row_bytes) REQUIRE(*block_row_bytes == row_blocks * expected.block_bytes);
      for (std::uint64_t first = 0; first <= cols; ++first) {
        for (const std::uint64_t count : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{32},
                                          std::uint64_t{64}, std::uint64_t{256}, cols - first}) {
          if (count > cols - first) continue;
          CAPTURE(first, count);
          const auto found = nibble::bytes_of_columns(how, cols, first, count);
          if (count == 0) {
            REQUIRE(found == byte_range{0, 0});
            continue;
          }
          // Element by element: no block may hold elements of these columns and of others.
          bool is_shared = !starts_anew;
          std::uint64_t blocks = 0;
          for (std::uint64_t i = 0; i < cols; ++i) {
            const bool is_theirs = i >= first && i < first + count;
            const std::uint64_t block = i / expected.block_cols() * expected.block_cols();
            is_shared = is_shared || is_theirs != (block >= first && block < first + count);
            blocks += is_theirs && i == block ? 1U : 0U;
          }
          REQUIRE(found.has_value() == !is_shared);
          if (found) {
            REQUIRE(*found == byte_range{first / expected.block_cols() * expected.block_bytes,
                                         blocks * expected.block_bytes});
          }
          ++(found ? own : shared);
        }
      }
    }
  }
  CHECK(own > 1000);
  CHECK(shared > 1000);
  CHECK_FALSE(nibble::stored_row_bytes(nibble::describe(encoding::f64),
                                       std::numeric_limits<std::uint64_t>::max() / 4));
}

TEST_CASE("a figure of bytes is told as a number, or as more than 64 bits hold", "[encoding]") {
  CHECK(nibble::bytes_text(0) == "0");
  CHECK(nibble::bytes_text(std::numeric_limits<std::uint64_t>::max()) == "18446744073709551615");
  CHECK(nibble::bytes_text(std::nullopt) == "over 2^64");
}

TEST_CASE("the packing ratio compares with f32 and is nothing where there is nothing", "[encoding]") {
  const auto ratio = [](encoding which, const shape& dimensions) {
    return nibble::packing_ratio(dimensions, *stored_bytes(which, dimensions));
  };
  CHECK(ratio(encoding::f32, shape{3, 5}) == 1.0);
  CHECK(ratio(encoding::bf16, shape{7}) == 2.0);
  CHECK(ratio(encoding::q8, shape{4, 64}) == 256.0 / 72.0);  // 3.556
  CHECK(ratio(encoding::q4, shape{4, 64}) == 6.4);
  CHECK(ratio(encoding::q8, shape{64, 172}) == 688.0 / 216.0);
  CHECK(ratio(encoding::apr_q4, shape{64, 172}) == 4.0 * 11008.0 / 6192.0);
  CHECK(ratio(encoding::q4, shape()) == 0.2);
  for (const nibble::encoding_description& row : nibble::encodings) {
    CHECK_FALSE(ratio(row.encoding, shape{3, 0}));
  }
}

}  // namespace
